"""Intended differences of little space and of places on the device: which entry tells them, and
bugs near them."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_workload
from test_differences import Example, U, changed, extents, result, seen, with_file

from harness.against.settle import settle
from harness.differences.table import INTENDED
from harness.sides.side import on_path
from harness.trace import Extent, State, Trace
from harness.verdict import Outcome, Verdict
from model import Behaviour, Model
from workloads.images import Geometry, Image

KIB = 1024
LEFT = 332
"""Free blocks of which five can be had: the others are kept for conversions."""
TREE = "tree block refused: ext4_ext_new_meta_block"


def lying(path: str, piece: int, line: str = "falloc a 0 32k", free: int = LEFT) -> Trace:
    """What a kernel does on this path, where the device has places of `piece` KiB."""

    def geometry(image: Image) -> Geometry:
        blocks = image.size // image.block_size
        return Geometry(blocks, free, 0, image.block_size, image.cluster_size)

    size = piece * KIB
    places = tuple(
        Extent(at * size, size, State.WRITTEN, (1 << 31) + at * 3 * size) for at in range(16)
    )
    workload = make_workload(line)
    placement = tuple({"a": places} for _ in range(len(workload.ops) + 1))
    model = Model(Behaviour.of_release("7.3.4", iomap=True), geometry)
    trace = model.run(on_path(workload, path), placement)
    return msgspec.structs.replace(trace, subject=path, kernel="7.3.4")


def shown(trace: Trace, piece: int) -> Trace:
    """`trace` as a kernel shows it: with the places of the first 40 KiB of `a`, all written."""
    size = piece * KIB
    found = tuple(
        Extent(start, min(size, 40 * KIB - start), State.WRITTEN, (1 << 31) + start * 3)
        for start in range(0, 40 * KIB, size)
    )
    steps = (trace.steps[0], *(with_file(step, extents=found) for step in trace.steps[1:]))
    return msgspec.structs.replace(trace, steps=steps)


def without(one: Trace, other: Trace, name: str) -> Verdict:
    return settle(seen(one), seen(other), [entry for entry in INTENDED if entry.name != name])


def named(verdict: Verdict) -> list[tuple[object, str]]:
    """Where which entry showed of itself."""
    return [(f.difference.place, f.row) for f in verdict.intended if not f.follows]


@pytest.mark.parametrize("pieces", [(4, 64), (64, 4)])
def test_the_side_whose_tree_finds_no_block_may_get_less(pieces: tuple[int, int]) -> None:
    one, other = (lying(path, piece) for path, piece in zip(("bh", "iomap"), pieces, strict=True))
    refused = one if pieces[0] == 4 else other
    assert TREE in refused.steps[0].because
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    assert (0, "no-block-for-the-tree") in named(verdict)
    assert without(one, other, "no-block-for-the-tree").outcome is Outcome.MISMATCH


def test_the_side_whose_tree_finds_no_block_may_not_get_more() -> None:
    """Both lie in pieces of a block; the other side gets less for no reason."""
    one, other = lying("bh", 4), lying("iomap", 64)
    example = Example("falloc a 0 32k", 0, extents((0, 12, U)))
    near = changed(other, example)
    verdict = settle(seen(one), seen(near, model=near))
    assert "extents" in {m.field for m in verdict.mismatches}


def test_where_both_get_blocks_these_must_be_the_same() -> None:
    """The tree of one side finds no block, but that side got something there, of another state."""
    one, other = lying("bh", 4), lying("iomap", 64)
    assert TREE in one.steps[0].because
    near = changed(one, Example("falloc a 0 32k", 0, extents((0, 16, U), (16, 4, State.WRITTEN))))
    verdict = settle(seen(near, model=near), seen(other))
    assert "extents" in {m.field for m in verdict.mismatches}


SHORT = "truncate a 1m; pwrite a 0 8k; fsync a; drop_caches; pwrite_fault a 0 32k fault=4k"


def test_a_short_write_where_space_is_low_leaves_unwritten_what_the_call_asked_for() -> None:
    """Not more than that: what is behind the call has another reason."""
    example = Example(SHORT, 4, extents((0, 8, State.WRITTEN)), "bigalloc64k@delalloc", free=1600)
    one, other = example.traces()
    verdict = settle(seen(one), seen(other))
    assert (4, "short-write-keeps-allocated") in named(verdict)
    assert without(one, other, "short-write-keeps-allocated").outcome is Outcome.MISMATCH
    longer = msgspec.structs.replace(example, near=extents((0, 8, State.WRITTEN), (8, 28, U)))
    near = changed(one, longer)
    verdict = settle(seen(near, model=near), seen(other))
    assert next((m.place, m.field) for m in verdict.mismatches) == (4, "extents")


def test_a_store_that_comes_to_the_end_of_space_is_no_matter_of_folios() -> None:
    """A file was cut before, so folios may differ; but what differs is the space left."""
    line = (
        "pwrite a 0 64k; truncate a 40k; fsync a; drop_caches; truncate a 1m;"
        " pwrite_fault b 0 12k fault=8k; mwrite a 512k 32k"
    )
    one, other = Example(line, 6, lambda step: step, free=345).traces()
    assert one.steps[6].result == "SIGBUS"
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    assert (6, "space-left-by-others") in named(verdict)
    assert (6, "cut-folio-is-split") not in named(verdict)


PIECES = "pwrite a 0 40k; fsync a; dwrite a 0 {}; pread a 0 16k; pread a 12k 4k"


def refused_in_pieces(asked: str) -> list[Trace]:
    """A direct write of `asked` bytes where one side has pieces of 12 KiB, the other one piece."""
    line = PIECES.format(asked)
    sides = (("bh", 12), ("iomap", 40))
    return [shown(lying(path, piece, line, 1000), piece) for path, piece in sides]


@pytest.mark.parametrize(("asked", "differs"), [("12388", True), ("12k", False), ("12188", False)])
def test_a_direct_write_is_refused_from_the_mapping_on_that_has_its_odd_end(
    asked: str, differs: bool
) -> None:
    """One side's first three blocks are a mapping of their own."""
    one, other = refused_in_pieces(asked)
    assert one.steps[2].result == other.steps[2].result
    assert (one.steps[3].result != other.steps[3].result) is differs
    verdict = settle(seen(one), seen(other))
    assert not verdict.mismatches
    assert ((3, "refused-in-part") in named(verdict)) is differs


def test_what_is_in_the_refused_mapping_on_both_sides_may_not_differ() -> None:
    one, other = refused_in_pieces("12388")
    near = changed(other, Example("", 4, result("0" * 32)))
    verdict = settle(seen(one), seen(near, model=near))
    assert [(m.place, m.field) for m in verdict.mismatches] == [(4, "result")]
