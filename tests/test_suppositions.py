"""Blocks that nobody saw may have lain apart: accepted where it explains all, and counted."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_workload
from modelled import FREE, geometry

from harness.errors import NotModelledError
from harness.running.runner import Runner
from harness.running.suppositions import (
    CUT,
    MOST_TRIED,
    PIECES,
    SUPPOSED,
    UNSEEN,
    UNTOLD,
    in_some_way,
    supposing,
)
from harness.trace import APART, SHORT, Extent, Placement, State, Trace, placement_of
from harness.verdict import Compared, Mismatch, Outcome, Verdict
from model import Behaviour, Model
from model.quota_warnings import HARD_BELOW
from workloads.workload import Workload

FOUR = "; ".join(f"pwrite a {8 * at}k 4k" for at in range(4))
WORKLOAD = make_workload(f"{FOUR}; pwrite_fault a 28k 8k fault=4k; fsync a", "4k@nodelalloc")
"""Block 8 is freed again by the failed write. Apart from block 7 it is a fifth extent, and
the tree keeps the block that it took for that."""
FAILED = 4
PLACES = tuple(
    Extent(8192 * at, 8192 if at == 3 else 4096, State.WRITTEN, (1 << 30) + (at << 20))
    for at in range(4)
)
PLACEMENT: Placement = tuple({"a": PLACES} for _ in range(len(WORKLOAD.ops) + 1))


class Reference:
    """The model, which counts its runs."""

    name = "model"

    def __init__(self) -> None:
        self.runs = 0

    def run(self, workload: Workload, placement: Placement | None, quirks: frozenset[str]) -> Trace:
        self.runs += 1
        return Model(Behaviour(iomap=False, quirks=quirks), geometry).run(workload, placement)


class Kernel:
    """A trace that was seen; a block of the file system may be missing from a step on."""

    name = "kernel"

    def __init__(self, seen: Trace, lost_from: int | None = None) -> None:
        steps = list(seen.steps)
        for at in range(len(steps) if lost_from is None else lost_from, len(steps)):
            free = steps[at].observation.bfree
            assert free is not None
            observation = msgspec.structs.replace(steps[at].observation, bfree=free - 1)
            steps[at] = msgspec.structs.replace(steps[at], observation=observation)
        self.trace = msgspec.structs.replace(
            seen, subject=self.name, steps=tuple(steps), kernel="7.3.4", final=None
        )

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
        return self.trace


def seen(*steps: int) -> Trace:
    """What a kernel shows that put the unseen blocks of these steps apart."""
    model = Model(Behaviour(iomap=False), geometry)
    trace = model.run(WORKLOAD, supposing(PLACEMENT, frozenset((step, APART) for step in steps)))
    blocks = [step.observation.files["a"].blocks for step in trace.steps]
    assert blocks[-1] == (48 if steps else 40)
    return msgspec.structs.replace(trace, final=None)


def judged(kernel: Kernel) -> tuple[Verdict, int]:
    """The verdict, and how many runs of the model it took."""
    reference = Reference()
    return Runner(reference, kernel, ()).run(WORKLOAD).verdict, reference.runs


def counted(verdict: Verdict) -> int:
    """Steps of which places were supposed."""
    return verdict.not_compared.get(("place", SUPPOSED), 0)


@pytest.mark.parametrize(("steps", "count"), [((), 0), ((FAILED,), 1)])
def test_either_place_agrees_and_what_was_supposed_is_counted(
    steps: tuple[int, ...], count: int
) -> None:
    verdict, runs = judged(Kernel(seen(*steps)))
    assert verdict.outcome is Outcome.AGREE
    assert (counted(verdict), runs) == (count, 1 + count)


@pytest.mark.parametrize("lost_from", [0, FAILED - 1, FAILED + 1])
def test_a_block_that_is_lost_elsewhere_is_a_mismatch(lost_from: int) -> None:
    for steps in ((), (FAILED,)):
        verdict, _ = judged(Kernel(seen(*steps), lost_from))
        assert verdict.outcome is Outcome.MISMATCH
        assert verdict.parting == lost_from


def test_two_blocks_are_more_than_one_tree_takes() -> None:
    verdict, _ = judged(Kernel(seen(FAILED), FAILED))
    assert verdict.outcome is Outcome.MISMATCH


LITTLE = 40
"""Blocks that can be had when a direct write asks for more, and gives all of them back."""
FULL = make_workload(
    f"pwrite a 0 4k; fsync a; falloc fill 0 {4 * (FREE - 1 - 16384 // 50 - LITTLE)}k;"
    " dwrite a 4k 1m; remount",
    "4k@delalloc",
)


@pytest.mark.parametrize("word", [None, APART, SHORT])
def test_blocks_that_space_was_too_little_for_may_have_come_in_pieces(word: str | None) -> None:
    """As on Debian's 7.3.4: no free piece was as long as the request, so that the file had its
    fifth extent before space ended, and the tree keeps the block that it took for that. In three
    pieces, apart or not, it is too late for one."""
    places = {"a": (Extent(0, 4096, State.WRITTEN, 1 << 30),),
              "fill": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),)}  # fmt: skip
    placement: Placement = (places,) * (len(FULL.ops) + 1)
    supposed = frozenset() if word is None else frozenset({(3, word)})
    seen = Model(Behaviour(iomap=False), geometry).run(FULL, supposing(placement, supposed))
    assert seen.steps[3].result == "ENOSPC"
    assert PIECES in seen.steps[3].because
    assert seen.steps[-1].observation.files["a"].blocks == (16 if word == SHORT else 8)
    verdict = Runner(Reference(), Kernel(seen), ()).run(FULL).verdict
    assert verdict.outcome is Outcome.AGREE
    assert verdict.not_compared.get(("place", CUT), 0) == (word == SHORT)


TRIMMED = make_workload(
    f"falloc fill 0 {4 * FREE}k; fpunch fill 0 320k; chown a uid=1000; quota_set uid=1000 hard=20;"
    " pwrite a 0 2052k",
    "quotabig16k@nodelalloc,usrquota",
)
NOTHING, BELOW = "uid 1000: below the block soft limit again", "uid 1000: " + HARD_BELOW


@pytest.mark.parametrize(("more", "agrees"), [((), True), ((BELOW,), True), (None, False)])
def test_in_how_many_pieces_unseen_blocks_are_freed_shows_in_warnings_alone(
    more: tuple[str, ...] | None, *, agrees: bool
) -> None:
    """As on Debian's 7.3.4: a write that fails is tried four times, and trimmed each time; the
    first time its last cluster was freed alone, below the limit, and the other times not. Where
    that can't be it is a mismatch: a limit of one cluster has nothing below it."""
    limit = TRIMMED.ops[3]
    ops = (*TRIMMED.ops[:3], msgspec.structs.replace(limit, hard=16), TRIMMED.ops[4])
    workload = TRIMMED if more is not None else msgspec.structs.replace(TRIMMED, ops=ops)
    places = {"a": (), "fill": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),)}
    seen = Model(Behaviour(iomap=False), geometry).run(workload, (places,) * (len(ops) + 1))
    assert seen.final is not None and seen.final.warnings is not None
    assert set(seen.final.warnings) == {NOTHING}
    told = (*((BELOW,) if more is None else more), *seen.final.warnings)
    kernel = Kernel(seen)
    kernel.trace = msgspec.structs.replace(
        kernel.trace, final=msgspec.structs.replace(seen.final, warnings=told)
    )
    verdict = Runner(Reference(), kernel, ()).run(workload).verdict
    assert verdict.outcome is (Outcome.AGREE if agrees else Outcome.MISMATCH)
    assert verdict.not_compared.get(("warnings", UNTOLD), 0) == (agrees and bool(more))


def test_only_steps_with_such_blocks_up_to_the_difference_are_supposed() -> None:
    """Every second step has some; the comparison parts at step 5 whatever is supposed."""
    workload = make_workload("; ".join(["pwrite a 0 4k"] * 9))
    trace = Model(Behaviour(), geometry).run(workload)
    steps = tuple(
        msgspec.structs.replace(step, because=(UNSEEN,) if at % 2 else ())
        for at, step in enumerate(trace.steps)
    )
    expected = msgspec.structs.replace(trace, steps=steps)
    tried: list[list[int]] = []

    def attempt(placement: Placement) -> Compared:
        tried.append([at for at, places in enumerate(placement) if places and APART in places])
        found = (Mismatch(5, "", None, "bfree", 1, 2),)
        return Compared(Verdict(workload, ("a", "b"), mismatches=found), expected, trace)

    compared = in_some_way(placement_of(trace), attempt)
    assert compared.verdict.mismatches
    assert counted(compared.verdict) == 0
    assert sorted(map(tuple, tried)) == sorted(
        [(), (1,), (3,), (5,), (1, 3), (1, 5), (3, 5), (1, 3, 5)]
    )


def test_no_more_than_so_many_places_are_tried() -> None:
    workload = make_workload("; ".join(["pwrite a 0 4k"] * 9))
    trace = Model(Behaviour(), geometry).run(workload)
    steps = tuple(msgspec.structs.replace(step, because=(UNSEEN,)) for step in trace.steps)
    expected = msgspec.structs.replace(trace, steps=steps)
    runs = 0

    def attempt(placement: Placement) -> Compared:
        nonlocal runs
        runs += 1
        found = (Mismatch("final", "", None, "bfree", 1, 2),)
        return Compared(Verdict(workload, ("a", "b"), mismatches=found), expected, trace)

    in_some_way(placement_of(trace), attempt)
    assert runs == MOST_TRIED


def test_what_is_refused_whatever_is_supposed_stays_refused() -> None:
    def attempt(placement: Placement) -> Compared:
        raise NotModelledError("no")

    with pytest.raises(NotModelledError):
        in_some_way((), attempt)
