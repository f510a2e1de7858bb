"""Reports of real kernels: each is found whole, under a title that stays the same.

A file of `logs/` begins with `# KIND: TITLE` for each complaint in it and `# source:`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.trace import ComplaintKind
from vm.log.lines import read_lines
from vm.log.parser import complaints_in

FILES = sorted((Path(__file__).parent / "logs").glob("*.txt"))
CHANGES = re.compile(r"0x|[0-9a-f]{8}|\b\d{3,}\b|\+0x|CPU#?\d|\[\d")


def read(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The expected kinds and titles, and the log's lines."""
    lines = path.read_text("utf-8").splitlines()
    head = [line[2:] for line in lines if line.startswith("# ")]
    assert any(line.startswith("source: ") for line in head), "where it comes from is said"
    wanted = [tuple(line.split(": ", 1)) for line in head if not line.startswith("source: ")]
    return wanted, [line for line in lines if not line.startswith("# ")]  # type: ignore[return-value]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_real_report_is_found_under_its_title(path: Path) -> None:
    wanted, lines = read(path)
    found = complaints_in(lines)
    assert [(complaint.kind, complaint.title) for complaint in found] == wanted
    assert not any(CHANGES.search(complaint.title) for complaint in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_title_does_not_depend_on_prefixes_numbers_or_what_stands_around(path: Path) -> None:
    wanted, lines = read(path)
    bare = [line.text for line in read_lines(lines)]
    other = [re.sub(r"\+0x[0-9a-f]+/", "+0x77/", line) for line in bare]
    other = [re.sub(r"\bffff[0-9a-f]{12}\b", "ffff888012345678", line) for line in other]
    around = ["EXT4-fs (vda): recovery complete", *other, "python3 (1): drop_caches: 3"]
    titles = [complaint.title for complaint in complaints_in(around)]
    assert titles == [title for _, title in wanted]


def test_every_kind_that_a_kernel_has_words_for_has_a_real_report() -> None:
    shown = {kind for path in FILES for kind, _ in read(path)[0]}
    ours = {ComplaintKind.LOST, ComplaintKind.AGENT, ComplaintKind.OTHER}
    rare = {ComplaintKind.KCSAN, ComplaintKind.USER, ComplaintKind.OOM}
    assert set(ComplaintKind) - {ComplaintKind(kind) for kind in shown} == {*ours, *rare}
