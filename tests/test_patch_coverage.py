"""docs/patch-coverage.md: every hunk and function of the patch is there, with functions of
the model and workloads that exist and belong together."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from documented import DOCS, Example, exists, known, notices, run_usual

TEXT = (DOCS / "patch-coverage.md").read_text()

PATCH = {
    ("fs/ext4/ext4.h", "@@ -3057,6 +3057,7 @@"): "ext4_nonda_switch",
    ("fs/ext4/ext4.h", "@@ -3943,6 +3944,9 @@"):
        "ext4_iomap_buffered_write_ops ext4_iomap_buffered_da_write_ops ext4_iomap_write_ops",
    ("fs/ext4/file.c", "@@ -299,6 +299,21 @@"): "ext4_iomap_buffered_write",
    ("fs/ext4/file.c", "@@ -313,7 +328,10 @@"): "ext4_buffered_write_iter",
    ("fs/ext4/inode.c", "@@ -3097,7 +3097,7 @@"): "ext4_nonda_switch",
    ("fs/ext4/inode.c", "@@ -3467,6 +3467,15 @@"): "ext4_iomap_valid ext4_iomap_write_ops",
    ("fs/ext4/inode.c", "@@ -3501,6 +3510,8 @@"): "ext4_set_iomap",
    ("fs/ext4/inode.c", "@@ -3908,8 +3919,12 @@"): "ext4_get_blocks_t ext4_iomap_map_blocks",
    ("fs/ext4/inode.c", "@@ -3921,6 +3936,9 @@"): "ext4_iomap_map_blocks",
    ("fs/ext4/inode.c", "@@ -3938,7 +3956,7 @@"): "ext4_iomap_buffered_read_begin",
    ("fs/ext4/inode.c", "@@ -3946,6 +3964,146 @@"):
        "ext4_iomap_get_blocks ext4_iomap_buffered_do_write_begin"
        " ext4_iomap_buffered_write_begin ext4_iomap_buffered_da_write_begin"
        " ext4_iomap_punch_delalloc ext4_iomap_buffered_da_write_end"
        " ext4_iomap_buffered_write_ops ext4_iomap_buffered_da_write_ops",
    ("fs/ext4/super.c", "@@ -104,9 +104,13 @@"): "",
}  # fmt: skip
"""The hunks of v3 08/22 and what each of them adds or changes."""


class Row(NamedTuple):
    """A statement of a hunk."""

    file: str
    hunk: str
    statement: str
    model: tuple[str, ...]
    workloads: tuple[str, ...]
    not_shown: str


def _names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def _rows() -> list[Row]:
    found = []
    for part in TEXT.split("\n## fs/")[1:]:
        file, _, hunks = f"fs/{part}".partition("\n")
        for text in hunks.partition("\n## ")[0].split("\n### ")[1:]:
            title, _, table = text.partition("\n")
            for line in re.findall(r"^\| (.*)\|$", table, flags=re.MULTILINE):
                statement, model, workloads, not_shown = (c.strip() for c in line.split("|"))
                if statement != "statement":
                    found.append(
                        Row(file, title.strip("`"), statement, _names(model), _names(workloads),
                            not_shown)
                    )  # fmt: skip
    return found


ROWS = _rows()
BY_ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row.statement))


def test_every_hunk_has_its_section() -> None:
    assert list(dict.fromkeys((row.file, row.hunk) for row in ROWS)) == list(PATCH)


@pytest.mark.parametrize("place", PATCH, ids=" ".join)
def test_what_a_hunk_changes_is_named_in_its_statements(place: tuple[str, str]) -> None:
    told = " ".join(row.statement for row in ROWS if (row.file, row.hunk) == place)
    named = set(re.findall(r"`(\w+)`", told))
    assert set(PATCH[place].split()) - named == set()


@BY_ROW
def test_row(row: Row) -> None:
    """What it names exists; what nothing specifies says why it can't be shown."""
    assert [name for name in row.model if not exists(name)] == []
    assert [name for name in row.workloads if not known(Example(name, iomap=True))] == []
    assert bool(row.model) == bool(row.workloads)
    assert row.model or row.not_shown


@BY_ROW
def test_workloads_reach_what_the_row_names(row: Row) -> None:
    """On the iomap path each workload runs a function of the row, and each function is run."""
    ran = {name: run_usual(Example(name, iomap=True)).functions for name in row.workloads}
    assert [name for name, used in ran.items() if not used & set(row.model)] == []
    assert set(row.model) - frozenset().union(*ran.values()) == set()


@BY_ROW
def test_workloads_notice_when_the_row_is_gone(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a function of the row doing nothing, the model predicts something else."""
    examples = [Example(name, iomap=True) for name in row.workloads]
    blind = [e.text for e in examples if not notices(e, row.model, monkeypatch)]
    assert blind == []
