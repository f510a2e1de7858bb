"""What a format can express comes back from it as it was, over the whole catalogue."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import NotModelledError
from harness.foretell import foretelling
from workloads.files import catalogue
from workloads.formats.exported import Exported, Foretell, NotForetoldError
from workloads.formats.fsx_export import write_ops
from workloads.formats.paths import Paths
from workloads.formats.registry import EXPORTS, IMPORTS
from workloads.ops import AnyOp
from workloads.program import Program
from workloads.syntax import format_op, parse_line

DOCUMENT = Path(__file__).parent.parent / "docs" / "formats.md"
EACH = 12
"""Every twelfth program of the catalogue is compared in quick tests, all in slow ones."""
QUICK_OR_ALL = [EACH, pytest.param(1, marks=pytest.mark.slow)]
BOTH_WAYS = ("fsx", "xfs_io")


@cache
def exports(name: str, each: int) -> list[tuple[Program, Exported | None]]:
    """Every `each`th program of the catalogue in format `name`; None if it is not foretold."""
    found: list[tuple[Program, Exported | None]] = []
    for program in catalogue()[::each]:
        try:
            foretell = foretelling(program.configs[0])
            found.append((program, EXPORTS[name].write(program, foretell, "999")))
        except (NotModelledError, NotForetoldError):
            found.append((program, None))
    return found


def kept(program: Program, exported: Exported) -> tuple[AnyOp, ...]:
    missing = {item.index for item in exported.left_out}
    return tuple(op for index, op in enumerate(program.ops) if index not in missing)


def without_tags(ops: tuple[AnyOp, ...]) -> list[str]:
    return [
        format_op(msgspec.structs.replace(op, tag=1) if hasattr(op, "tag") else op, 0)
        for op in ops
    ]  # fmt: skip


@pytest.mark.parametrize("each", QUICK_OR_ALL)
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_what_is_expressed_comes_back(name: str, each: int) -> None:
    compared = 0
    for program, exported in exports(name, each):
        if exported is None or not kept(program, exported):
            continue
        text = next(iter(exported.files.values()))
        imported = IMPORTS[name].read(text, program.name, "exported", Paths())
        assert (imported.left_out, imported.changed) == ((), ())
        expected = kept(program, exported)
        if name == "fsx":  # which writes its own bytes
            assert without_tags(imported.program.ops) == without_tags(expected)
        else:
            assert imported.program.ops == expected
        header = msgspec.structs.replace(imported.program, ops=(), notes=())
        assert header == msgspec.structs.replace(program, ops=(), notes=())
        compared += len(expected)
    assert compared > 500 / each


@pytest.mark.parametrize("each", QUICK_OR_ALL)
@pytest.mark.parametrize("name", EXPORTS)
def test_what_is_missing_is_told_in_the_head(name: str, each: int) -> None:
    for program, exported in exports(name, each):
        if exported is None:
            continue
        head = next(iter(exported.files.values()))[:6000]
        if exported.complete:
            assert f"all {len(program.ops)} operations are here" in head
        else:
            count = len(exported.left_out)
            assert f"left out: {count} of {len(program.ops)} operations: " in head
            for item in exported.left_out:
                assert f"  {item.index + 1} {item.op}" in head


def counts(name: str, each: int = 1) -> tuple[int, int, int, int]:
    """Programs that are whole, all of them, operations that are there, all of them."""
    whole = programs = there = total = 0
    for program, exported in exports(name, each):
        programs += 1
        total += len(program.ops)
        if exported is not None:
            whole += exported.complete
            there += len(kept(program, exported))
    return whole, programs, there, total


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_the_page_says_how_much_a_format_can_express(name: str) -> None:
    """As the catalogue grows its shares may move by some points, and not further."""
    row = re.search(rf"^\| `{name}` \| (\d+) % \| (\d+) % \|", DOCUMENT.read_text(), re.MULTILINE)
    assert row is not None
    whole, programs, there, total = counts(name)
    assert 100 * whole / programs == pytest.approx(int(row[1]), abs=5)
    assert 100 * there / total == pytest.approx(int(row[2]), abs=5)


@pytest.mark.parametrize("each", QUICK_OR_ALL)
def test_the_page_names_every_reason(each: int) -> None:
    text = DOCUMENT.read_text()
    for name in EXPORTS:
        reasons = Counter(
            item.why
            for _, exported in exports(name, each)
            if exported
            for item in exported.left_out
        )
        for reason in reasons:
            if not re.fullmatch(r"(fsx|xfs_io) has no \w+", reason):
                assert reason in text, (name, reason)


# --- random programs, for the two formats that are read and written --------------------------

WORDS = ("pwrite", "falloc", "falloc_keep", "fpunch", "fzero", "truncate", "fsync", "finsert")


@st.composite
def lines(draw: st.DrawFn) -> str:
    parts = []
    for word in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)):
        off, length = (draw(st.integers(0, 20)) * 4096 + draw(st.sampled_from((0, 1)))
                       for _ in range(2))  # fmt: skip
        arguments = {"truncate": f"{length}", "fsync": ""}.get(word, f"{off} {length}")
        parts.append(f"{word} a {arguments}")
    return "; ".join(parts)


def _nothing_known(program: Program) -> Foretell:
    return foretelling(program.configs[0])


@settings(max_examples=25, deadline=None)
@given(lines())
def test_random_programs_come_back_from_fsx_and_xfs_io(line: str) -> None:
    program = parse_line(line, "random")
    for exported, name in (
        (write_ops(program, _nothing_known(program)), "fsx"),
        (EXPORTS["xfs_io"].write(program, _nothing_known(program), ""), "xfs_io"),
    ):
        expected = kept(program, exported)
        if not expected:
            continue
        text = next(iter(exported.files.values()))
        back = IMPORTS[name].read(text, "random", "exported", Paths()).program.ops
        assert without_tags(back) == without_tags(expected)
