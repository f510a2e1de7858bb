"""docs/bugs.md: every program that is said to show a bug exists, and every row names one."""

from __future__ import annotations

import re
from pathlib import Path

from workloads.files import catalogue

PAGE = (Path(__file__).parent.parent / "docs" / "bugs.md").read_text()
SHOWN = PAGE.partition("## What no program shows")[0]
ROWS = [line for line in SHOWN.splitlines() if line.startswith("| ") and "| programs |" not in line]


def test_every_row_names_programs_of_the_catalogue() -> None:
    known = {program.name for program in catalogue()}
    for row in ROWS:
        named = set(re.findall(r"`([a-z0-9-]+)`", row.split("|")[2]))
        assert named, row
        assert named <= known, row
    assert len(ROWS) > 35
