"""Lines of the model that no recorded workload holds, as mutants have shown; see
`test_model_parts`."""

from __future__ import annotations

import pytest
from test_model_parts import mounted

from harness.trace import Extent, State
from model import io_end, map_blocks, quota_warnings, run
from model.after_shutdown import not_predicted
from model.extent_status import Run
from model.extent_tree import ExtentTree, ExtentTreeError
from model.inode import Inode
from model.placement import Placer
from model.superblock import max_extent_file_bytes
from model.units import UNWRITTEN, WRITTEN
from workloads.ops import Read, SyncRange, SyncWrite


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


def test_the_bytes_of_ordered_blocks_are_theirs() -> None:
    inode = Inode(mounted().sb, "a")
    map_blocks._order(inode, Run(3, 5, WRITTEN, 100), submitted=False)
    assert inode.ordered == (3 * 4096, 5 * 4096)


def test_blocks_that_follow_the_first_one_are_mapped_with_it_wherever_they_begin() -> None:
    mount = mounted("4k@nodelalloc")
    places = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    mount.sb.placer = Placer((places,), 4096)
    mount.sb.placer.begin(0)
    inode = mount.files["a"] = Inode(mount.sb, "a")
    inode.size = 1 << 20
    assert map_blocks.map_singly(inode, 4, 8, unwritten=False) == 8


def test_what_first_made_warnings_unknown_stays_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = mounted("quota4k@delalloc,usrquota")
    inode, warnings = Inode(mount.sb, "a"), mount.sb.quota.warnings
    monkeypatch.setattr(warnings, "freed", lambda *_: warnings.said.append((0, 0)))
    warnings.freed_pieces(inode, [1], unsure=True)
    assert warnings.unknown == quota_warnings.PASSING
    warnings.unknown = "an earlier reason"
    warnings.freed_pieces(inode, [1], unsure=True)
    assert warnings.unknown == "an earlier reason"


def test_a_call_that_commits_has_changed_its_file_before(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = mounted()
    inode = mount.files["a"] = Inode(mount.sb, "a")
    noted: list[bool] = []
    monkeypatch.setitem(run.HANDLERS, SyncWrite, lambda *_: noted.append(inode.unsynced))
    run._call(mount, SyncWrite(file="a", off=0, len=1, tag=1))
    assert noted == [True]


def test_what_is_read_of_a_missing_file_is_known() -> None:
    assert run._undefined_read(mounted(), Read("a", 0, 10)) == ""


@pytest.mark.parametrize(("block", "most"), [(1024, 2147483647 * 1024), (4096, 536870911 * 4096)])
def test_without_huge_file_sectors_are_32_bits(block: int, most: int) -> None:
    assert max_extent_file_bytes(block, huge_file=False) == most
