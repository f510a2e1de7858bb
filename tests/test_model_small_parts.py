"""Lines of the model that no recorded workload holds, as mutants have shown; see
`test_model_parts`."""

from __future__ import annotations

import pytest
from test_model_parts import mounted

from model import io_end
from model.after_shutdown import not_predicted
from model.extent_status import Run
from model.extent_tree import ExtentTree, ExtentTreeError
from model.inode import Inode
from model.units import UNWRITTEN
from workloads.ops import SyncRange


def test_what_a_missing_file_answers_after_a_shutdown_is_known() -> None:
    mount = mounted()
    mount.sb.shut_down = True
    assert not_predicted(mount, SyncRange("a", 0, 4096)) == ""


def test_only_an_unwritten_block_is_converted_at_the_end_of_io() -> None:
    tree = ExtentTree(4096)
    tree.insert(20, 1, 1000, False)
    for lblk in (5, 20):
        with pytest.raises(ExtentTreeError, match=f"block {lblk} is not unwritten"):
            tree.end_io(lblk, 1, 100)


def test_what_has_been_saved_leaves_no_empty_piece() -> None:
    inode = Inode(mounted().sb, "a")
    inode.unsaved = [(0, 4), (6, 9)]
    inode.saved(0, 7)
    assert inode.unsaved == [(7, 9)]


def test_what_is_unwritten_on_either_side_may_be_split() -> None:
    inode = Inode(mounted().sb, "a")
    inode.es.set(Run(0, 4, UNWRITTEN, 100))
    inode.es.set(Run(12, 14, UNWRITTEN, 300))
    found = [io_end._splits_nothing(inode, *blocks) for blocks in ((4, 8), (5, 8), (8, 12), (0, 4))]
    assert found == [False, True, False, True]
