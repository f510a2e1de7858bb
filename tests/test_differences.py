"""Intended differences: each entry excuses what it describes, and nothing that is near it.

The kernels here are models of themselves: what they do is the specification's, so that
every entry can be shown without a guest, and a near miss be made by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from fakes import make_workload
from modelled import FREE

from harness.against.settle import Seen, settle
from harness.differences.table import INTENDED
from harness.known_issue import path_of
from harness.sides.side import on_path
from harness.trace import Event, EventKind, Extent, State, Step, Trace
from harness.verdict import Outcome, Verdict
from model import Behaviour, Model
from workloads.images import Geometry, Image
from workloads.workload import Workload

D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN
NAMES = [entry.name for entry in INTENDED]
TOP = Path(__file__).parent.parent


def kernel(
    workload: Workload,
    name: str,
    path: str,
    release: str = "7.3.4",
    free: int = FREE,
    quirks: frozenset[str] = frozenset(),
    cyclic: bool = False,
    iomap: bool = True,
) -> Trace:
    """What a kernel of this release does on this path, as the model has it; `iomap` says whether
    it has the other path too."""

    def geometry(image: Image) -> Geometry:
        blocks = image.size // image.block_size
        return Geometry(blocks, free, 0, image.block_size, image.cluster_size)

    far = {"a": (Extent(0, 1 << 30, W, 1 << 31),), "b": (Extent(0, 1 << 30, W, 1 << 35),)}
    placement = tuple(far for _ in range(len(workload.ops) + 1))
    behaviour = Behaviour.of_release(release, iomap=iomap, quirks=quirks, cyclic_sync=cyclic)
    model = Model(behaviour, geometry)
    trace = model.run(on_path(workload, path), placement)
    return msgspec.structs.replace(trace, subject=name, kernel=release)


def seen(trace: Trace, model: Trace | None = None) -> Seen:
    """`trace` of a kernel, whose model is `model` (the same if not given)."""
    judged = Verdict(trace.workload, ("model", trace.subject))
    return Seen(trace, path_of(trace.workload.config), judged, model or trace)


class Example(msgspec.Struct, frozen=True):
    """A line of operations on two sides that shows an entry at step `step` (counted from 0).

    `near` changes what the second side does there to something that the entry does not
    describe, although the model is made to predict it.
    """

    line: str
    step: int
    near: Callable[[Step], Step]
    config: str = "4k@delalloc"
    sides: tuple[tuple[str, str], tuple[str, str]] = (("bh", "7.3.4"), ("iomap", "7.3.4"))
    free: int = FREE
    cyclic: bool = False

    def traces(self) -> list[Trace]:
        workload = make_workload(self.line, self.config)
        return [
            kernel(workload, name, *side, free=self.free, cyclic=self.cyclic)
            for name, side in zip(("one", "other"), self.sides, strict=True)
        ]


# --- near misses ------------------------------------------------------------------------


def extents(*runs: tuple[int, int, State]) -> Callable[[Step], Step]:
    """File `a` has these (start, length in KiB) instead."""
    found = tuple(Extent(start * 1024, length * 1024, state) for start, length, state in runs)
    return lambda step: with_file(step, extents=found)


def with_file(step: Step, **fields: object) -> Step:
    observation = step.observation
    file = msgspec.structs.replace(observation.files["a"], **fields)
    files = {**observation.files, "a": file}
    return msgspec.structs.replace(
        step, observation=msgspec.structs.replace(observation, files=files)
    )


def event(kind: EventKind, count: int, reserved: int) -> Callable[[Step], Step]:
    """One more event of `a` at the end."""
    more = Event(kind, "a", count, reserved, True if kind is EventKind.UPDATE else None)
    return lambda step: msgspec.structs.replace(step, events=(*(step.events or ()), more))


def result(value: int | str | list[list[int]]) -> Callable[[Step], Step]:
    return lambda step: msgspec.structs.replace(step, result=value)


RESERVE, RELEASE, UPDATE = EventKind

STORED = (
    "pwrite a 12k 100k; pwrite a 86419 1; truncate a 86421; fpunch a 8k 128k; pwrite a 2056k 100k;"
    " mwrite_msync a 17621 68800"
)

EXAMPLES: dict[str, list[Example]] = {
    "reserved-in-one-step": [
        Example("pwrite a 0 64k", 0, event(RESERVE, 1, 17)),
        Example("truncate a 16k; mwrite a 0 12k", 1, event(RELEASE, 1, 3), "1k@delalloc"),
    ],
    "short-write-gives-back": [
        Example("pwrite_fault a 0 64k fault=8k", 0, extents((0, 8, W))),
        Example("pwrite_fault a 0 64k fault=8k", 0, event(RELEASE, 50, 0)),
        Example("falloc a 0 1k; pwrite_fault a 100 3000 fault=0", 1, event(RELEASE, 1, 1),
                "1k@delalloc"),
    ],
    "short-write-zeroes-the-rest": [
        Example(
            "falloc a 0 64k; pwrite_fault a 8k 48k fault=8k; fsync a",
            2, extents((0, 8, U), (8, 8, W), (16, 8, D), (24, 40, U)),
        ),
        Example("falloc a 0 128k; pwrite_fault a 0 64k fault=16k; pread a 100 4000; seek a",
                3, result([[0, 4096], [8192, 90000]])),
    ],
    "short-write-keeps-allocated": [
        Example(
            "pwrite_fault a 0 64k fault=8k", 0, extents((0, 64, W)), "4k@nodelalloc"
        ),
        Example("falloc_keep a 0 300k; pwrite_fault a 0 12k fault=8k",
                1, extents((0, 300, W)), "4k@nodelalloc"),
        Example("truncate a 1m; pwrite a 0 8k; fsync a; drop_caches; pwrite_fault a 0 32k fault=4k",
                4, extents((0, 8, W), (32, 4, U)), "bigalloc64k@delalloc", free=1600),
        Example("falloc a 28k 68k; fsync a; truncate a 256k; pwrite_fault a 1k 200k fault=60k",
                3, extents((0, 96, D)), "4k@nodelalloc"),
    ],
    "all-or-nothing": [
        Example("pwrite a 0 4k; fsync a; pwrite a 0 64k", 2, result("EIO"), free=339),
        Example("truncate a 64k; pwrite_fault a 3990 4097 fault=0", 1, result("EIO"), free=328),
    ],
    "up-to-the-last-block": [
        Example("pwrite a 500 64k", 0, result("EIO"), "1k@nodelalloc", free=1000),
    ],
    "gives-up-at-once": [
        Example("pwrite a 0 64k", 0, event(RESERVE, 1, 1), "1k@delalloc", free=1000),
    ],
    "failed-write-keeps-reserved": [
        Example("truncate a 1m; pwrite a 0 64k", 1, extents((0, 48, U)), free=339),
        Example("truncate a 1m; pwrite a 0 64k", 1, event(RELEASE, 1, 0), free=339),
    ],
    "low-space-by-call": [
        Example("pwrite a 0 2600k", 0, extents((0, 2560, W)), free=1025),
        Example("truncate a 8m; pwrite a 0 2160k; pwrite_fault a 6m 72k fault=64k",
                2, extents((0, 2160, W), (6144, 80, D)), free=1025),
    ],
    "low-space-seen-at-once": [
        Example("truncate a 8m; pwrite a 0 2064k; pwrite a 6m 64k",
                2, extents((0, 2064, W)), free=1025),
        Example("truncate a 8m; pwrite a 0 2064k; pwrite_fault a 6m 72k fault=64k",
                2, extents((0, 2064, W), (6144, 64, D), (6208, 16, D)), free=1025),
    ],
    "allocated-unwritten": [
        Example("pwrite a 0 64k", 0, extents((0, 60, U), (60, 4, D)), "4k@nodelalloc"),
        Example("truncate a 16k; mwrite a 0 4k", 1, extents((0, 4, D)), "4k@nodelalloc"),
    ],
    "converted-after-io": [
        Example(
            "falloc a 0 64k; pwrite a 0 8k", 1, extents((0, 60, U)), "4k@nodelalloc"
        ),
        Example(
            "falloc a 0 64k; fsync a; pwrite a 0 8k; shutdown 2; remount", 4,
            lambda s: with_file(s, size=131072), "nojournal@nodelalloc",
        ),
    ],
    "split-after-io": [
        Example(
            "falloc a 0 256k; chown a uid=1000; quota_set uid=1000 hard=256;"
            " user_write a 40k 4k uid=1000; user_write a 120k 4k uid=1000;"
            " user_write a 0 8k uid=1000; falloc_keep a 256k 256k; quota_set uid=1000 hard=512;"
            " user_write a 252k 8k uid=1000",
            8, result("EIO"), "quota4k@nodelalloc,usrquota",
        ),
    ],
    "zero-range-edges-first": [
        Example(
            "pwrite a 0 64k; fzero a 5001 12345; pread a 0 64k; fsync a",
            3, extents((0, 5, W), (5, 11, D), (16, 48, W)), "1k@delalloc",
            sides=(("iomap", "7.2.13"), ("iomap", "7.3.4")),
        ),
    ],
    "dioread-lock-ignored": [
        Example("falloc a 0 64k; pwrite_osync a 8k 4k", 1, extents((0, 12, D)),
                "4k@delalloc,dioread_lock"),
    ],
    "writeback-by-folio": [
        Example("pwrite_osync a 0 5000", 0, event(UPDATE, 1, 1), "1k@delalloc"),
    ],
    "cyclic-writeback": [
        Example("pwrite a 64k 4k; sync; pwrite a 0 4k; pwrite a 128k 8k; sync",
                4, event(RELEASE, 1, 1), cyclic=True),
    ],
    "folio-within-its-mapping": [
        Example("pwrite a 0 8k; fsync a; drop_caches; pwrite a 0 64k; sync_range a 12k 4k",
                4, extents((0, 16, W), (16, 48, U))),
        Example("pwrite a 0 8k; fsync a; drop_caches; pwrite a 0 64k; dwrite a 32k 4k",
                4, event(RESERVE, 1, 1)),
        Example("pwrite a 0 8k; fsync a; drop_caches; pwrite a 0 64k; fcollapse a 0 16k",
                4, event(RELEASE, 1, 0)),
    ],
    "cut-folio-is-split": [
        Example("pwrite a 0 64k; truncate a 40k; dwrite a 60k 4k", 2, extents((0, 40, D))),
        Example("pwrite a 0 64k; fpunch a 40k 8k; mwrite a 12k 100",
                2, extents((0, 40, D), (48, 12, D))),
        Example("pwrite a 0 64k; fpunch a 40k 8k; mwrite a 12k 100", 2, event(RELEASE, 1, 14)),
        Example("pwrite a 0 100k; truncate a 33000; sync_range a 32k 4k", 2, extents((0, 33, U)),
                "1k@delalloc"),
        Example("pwrite a 0 64k; fzero a 4k 8k; seek a", 2, result([[0, 80000]])),
        Example("pwrite a 0 64k; fpunch a 4k 8k; falloc a 4k 8k; seek a", 3, result([[0, 80000]])),
        Example("pwrite a 0 64k; truncate a 33000; falloc a 0 64k; seek a", 3,
                result([[0, 65536], [70000, 80000]])),
    ],
    "refused-in-part": [
        Example("falloc a 0 32k; pwrite_fault a 20k 4097 fault=0; fsync a; dwrite a 0 32769;"
                " pread a 20k 4k", 4, lambda s: with_file(s, size=5)),
    ],
    "direct-write-leaves-a-folio": [
        Example("pwrite_fault a 0 12k fault=8k; dwrite a 0 20k; truncate a 60k; mwrite a 16k 1;"
                " pwrite a 20k 12k; sync_range a 24k 1", 5, extents((0, 20, W), (20, 12, U))),
    ],
    "page-past-eof-stays-dirty": [
        Example("pwrite_fault a 0 12k fault=8k; dwrite a 4k 4196", 1, result("EIO")),
    ],
    "writeback-takes-the-extent": [
        Example(
            "pwrite a 1023 1; pwrite a 1k 1; pwrite a 4095 1; pwrite a 4k 1; pwrite a 16383 2;"
            " pwrite a 32k 1; pwrite a 49151 1; fsync a",
            7, event(RELEASE, 1, 1), "1k@delalloc",
        ),
        Example("falloc a 0 1k; pwrite_osync a 100 64k",
                1, event(RELEASE, 1, 1), "1kbigalloc8k@delalloc"),
    ],
    "unwritten-block-is-zeroed": [
        Example("pwrite a 8092 128k; fzero a 0 65535; fzero a 43314 4k; fsync a",
                3, extents((0, 40, U), (40, 4, W), (44, 4, D), (48, 12, U), (60, 76, W))),
    ],
    "empty-page-is-cached": [
        Example("falloc a 0 152k; fzero_keep a 8k 30k; truncate a 149k; pread a 0 64k;"
            " pread a 64k 64k; seek a", 5, result([[4096, 152576]])),
        Example(STORED, 5, extents((0, 12, D), (16, 72, W), (88, 8, D), (2056, 100, D))),
        Example(STORED, 5, event(RELEASE, 1, 25)),
        Example(STORED, 5, event(UPDATE, 1, 24)),
        Example(STORED, 5, extents((16, 72, W), (1000, 4, W), (2056, 100, D))),
    ],
    "space-left-by-others": [
        Example("pwrite_fault a 0 12k fault=8k; pwrite b 0 4k", 1, result("EIO"), free=330),
        Example("pwrite_fault b 0 12k fault=8k; falloc a 0 64k",
                1, result("EIO"), free=330),
    ],
    "eof-block-written-at-once": [
        Example("falloc a 0 8k; pwrite a 0 8000; truncate a 5000", 2, extents((0, 8, D))),
    ],
    "eof-block-is-cached": [
        Example("pwrite a 0 4k; fsync a; pwrite a 12k 10; fzero a 4k 64k; seek a", 4,
                result([[4096, 16384]])),
        Example("pwrite a 0 4k; fsync a; pwrite a 12k 10; fzero a 4k 64k; seek a", 4,
                result([[0, 1024], [12288, 13312]]), "1k@delalloc"),
        Example("pwrite a 0 9000; fzero a 4k 64k; fsync a", 2,
                extents((0, 4, W), (4, 4, U), (8, 4, W), (12, 56, D))),
    ],
    "dirty-as-a-whole": [
        Example(
            "falloc a 0 16k; pwrite a 0 16k; fzero a 2k 1k; fzero a 5k 6k; fsync a",
            4, extents((0, 15, W), (15, 1, D)), "1k@delalloc",
        ),
    ],
    "ordered-data-at-commit": [
        Example("pwrite a 0 60k; pwrite b 0 4k; fsync b; shutdown 2; sync_range a 140k 4k",
                4, result("EUCLEAN"), "4k@nodelalloc"),
    ],
    "behind-eof-is-cached": [
        Example("pwrite a 0 99; fsync a; falloc a 2k 1000; seek a", 3,
                result([[0, 1024], [4096, 5000]]), "1k@delalloc"),
    ],
    "disksize-after-io": [
        Example("pwrite a 0 100; pwrite a 100 10", 1, lambda s: with_file(s, disksize=200),
                "4k@nodelalloc"),
    ],
    "one-round-less-at-a-fault": [
        Example(
            "pwrite_fault a 0 64k fault=8k", 0, event(RELEASE, 1, 0),
            sides=(("iomap", "7.2.13"), ("iomap", "7.3.4")),
        ),
    ],
}  # fmt: skip


ALL = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, examples in EXAMPLES.items()
    for number, example in enumerate(examples)
]


def test_every_entry_has_an_example_or_a_test_of_its_own():
    assert set(NAMES) == {
        *EXAMPLES,
        "quota-hard-limit-warnings",
        "no-block-for-the-tree",
        "option-not-known",
        "tree-by-placement",
        "size-of-data-on-disk",
        "eof-zeroes-on-disk",
    }


@pytest.mark.parametrize(("name", "example"), ALL)
def test_an_entry_excuses_what_it_describes(name, example):
    one, other = example.traces()
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.headline
    signs = [found for found in verdict.intended if found.row == name and not found.follows]
    assert any(found.difference.place == example.step for found in signs), verdict.intended


@pytest.mark.parametrize(("name", "example"), ALL)
def test_it_does_so_whichever_side_expects(name, example):
    one, other = example.traces()
    verdict = settle(seen(other), seen(one))
    assert verdict.outcome is Outcome.INTENDED, verdict.headline
    assert any(found.row == name for found in verdict.intended)


@pytest.mark.parametrize(("name", "example"), ALL)
def test_without_the_entry_it_is_a_mismatch(name, example):
    one, other = example.traces()
    rest = tuple(entry for entry in INTENDED if entry.name != name)
    verdict = settle(seen(one), seen(other), rest)
    assert verdict.outcome is Outcome.MISMATCH
    assert "no intended difference describes" in verdict.mismatches[0].because[0]


def changed(trace: Trace, example: Example) -> Trace:
    steps = list(trace.steps)
    steps[example.step] = example.near(steps[example.step])
    return msgspec.structs.replace(trace, steps=tuple(steps))


@pytest.mark.parametrize(("name", "example"), ALL)
def test_a_near_miss_is_a_mismatch_though_the_model_predicts_it(name, example):
    one, other = example.traces()
    near = changed(other, example)
    verdict = settle(seen(one), seen(near, model=near))
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.mismatches[0].place == example.step


@pytest.mark.parametrize(("name", "example"), ALL)
def test_what_the_model_does_not_predict_is_a_mismatch_whatever_it_looks_like(name, example):
    one, other = example.traces()
    verdict = settle(seen(one), seen(changed(other, example), model=other))
    assert verdict.outcome is Outcome.MISMATCH
    said = verdict.mismatches[0].because[0]
    assert said.startswith(("by the model", "the model predicts")), said


@pytest.mark.parametrize(("name", "example"), ALL)
def test_two_kernels_on_one_path_are_not_excused_by_what_two_paths_do(name, example):
    """The traces of both, said to be of the same path and release."""
    one, other = example.traces()
    other = msgspec.structs.replace(other, kernel=one.kernel)
    sides = [msgspec.structs.replace(seen(trace), path="iomap") for trace in (one, other)]
    verdict = settle(*sides)
    assert verdict.outcome is Outcome.MISMATCH


# --- the same extents elsewhere on the device ----------------------------------------------


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"blocks": 24, "disk_blocks": 24}, Outcome.INTENDED),
        ({"blocks": 17, "disk_blocks": 17}, Outcome.MISMATCH),
        ({"blocks": 24, "disk_blocks": 24, "reserved": 1}, Outcome.MISMATCH),
        ({"blocks": 24, "disk_blocks": 24, "extents": (Extent(0, 4096, W),)}, Outcome.MISMATCH),
    ],
)
def test_only_whole_tree_blocks_under_the_same_extents_are_the_placements(fields, outcome):
    line = "pwrite a 0 8k; fsync a; fsync a"
    one, other = Example(line, 0, lambda step: step, sides=(("bh", "7.3.4"),) * 2).traces()
    steps = (*other.steps[:2], with_file(other.steps[2], **fields))
    elsewhere = msgspec.structs.replace(other, steps=steps)
    assert settle(seen(one), seen(elsewhere)).outcome is outcome


# --- an option that one kernel lacks -------------------------------------------------------


@pytest.mark.parametrize("remount", ["nobuffered_iomap", "auto_da_alloc,buffered_iomap"])
def test_an_option_of_the_series_is_refused_by_a_kernel_without_it(remount: str) -> None:
    workload = make_workload(f"remount_opts {remount}; pwrite a 0 4k", "4k@delalloc")
    with_it, without = kernel(workload, "x", "bh"), kernel(workload, "y", "bh", iomap=False)
    for sides in ((with_it, without), (without, with_it)):
        verdict = settle(*map(seen, sides))
        assert [found.row for found in verdict.intended] == ["option-not-known"]
        assert verdict.outcome is Outcome.INTENDED


@pytest.mark.parametrize(
    ("remount", "result"),
    [("auto_da_alloc", "EINVAL"), ("buffered_iomap", "EBUSY"), ("dioread_lock", "EINVAL")],
)
def test_another_option_or_error_is_a_mismatch(remount: str, result: str) -> None:
    workload = make_workload(f"remount_opts {remount}", "4k@delalloc")
    one = kernel(workload, "x", "bh")
    step = msgspec.structs.replace(one.steps[0], result=result)
    other = msgspec.structs.replace(one, subject="y", steps=(step,))
    assert settle(seen(one), seen(other)).outcome is Outcome.MISMATCH


# --- fields that no model sees, and known issues ----------------------------------------

REACHED = "uid 1000: block hard limit reached"
BELOW = "uid 1000: below the block hard limit again"
SOFT = "uid 1000: below the block soft limit again"


def warned(trace: Trace, *lines: str) -> Trace:
    assert trace.final is not None
    return msgspec.structs.replace(
        trace, final=msgspec.structs.replace(trace.final, warnings=lines)
    )


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((REACHED, BELOW), (REACHED,), Outcome.INTENDED),
        ((REACHED, BELOW, SOFT), (REACHED, REACHED, BELOW, SOFT), Outcome.INTENDED),
        ((REACHED,), (REACHED, BELOW), Outcome.MISMATCH),
        ((REACHED, BELOW, SOFT), (REACHED,), Outcome.MISMATCH),
        ((REACHED, BELOW), ("uid 1001: block hard limit reached",), Outcome.MISMATCH),
    ],
)
def test_quota_warnings_that_the_model_does_not_see_are_excused_by_their_shape_alone(
    first, second, outcome
):
    one, other = Example("pwrite a 0 4k", 0, lambda step: step).traces()
    verdict = settle(seen(warned(one, *first), one), seen(warned(other, *second), other))
    assert verdict.outcome is outcome


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((SOFT,), (BELOW, SOFT), Outcome.INTENDED),
        ((SOFT, SOFT), (SOFT,), Outcome.INTENDED),
        ((REACHED, BELOW, BELOW), (BELOW, BELOW), Outcome.INTENDED),
        ((BELOW,), (REACHED, BELOW), Outcome.MISMATCH),
        ((SOFT,), (BELOW,), Outcome.MISMATCH),
        ((SOFT,), ("uid 1001: block hard limit reached", SOFT), Outcome.MISMATCH),
    ],
)
def test_of_quota_warnings_that_it_sees_hard_limits_may_be_passed_otherwise(first, second, outcome):
    """Usage that falls from the hard limit to the soft one is told once, in two steps twice."""
    one, other = Example("pwrite a 0 4k", 0, lambda step: step).traces()
    sides = [seen(warned(one, *first)), seen(warned(other, *second))]
    assert settle(*sides).outcome is outcome


def buggy(workload: Workload, path: str, quirks: frozenset[str]) -> Seen:
    """A kernel with these known bugs, its model with and without them."""
    trace = kernel(workload, path, path, quirks=quirks)
    return msgspec.structs.replace(seen(trace), strict=kernel(workload, path, path))


def test_a_known_issue_of_one_path_is_known_and_no_intended_difference():
    workload = make_workload("pwrite a 0 4k; pwrite_fault a 20000 8k fault=0", "4k@delalloc")
    quirks = frozenset({"efault_beyond_eof_moves_size"})
    one, other = buggy(workload, "bh", quirks), seen(kernel(workload, "y", "iomap"))
    verdict = settle(one, other)
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.known == ("efault-beyond-eof-moves-size",)


HIDDEN = "pwrite a 0 5000; fsync a; fzero a 4k 12k; pread a 0 16k; pwrite a 4k 100; fsync a"


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@nodelalloc", "bigalloc16k@delalloc"])
def test_an_issue_of_both_paths_that_shows_later_on_one_is_known(config):
    workload = make_workload(HIDDEN, config)
    quirks = frozenset({"zero_range_revives_eof_block"})
    verdict = settle(buggy(workload, "bh", quirks), buggy(workload, "iomap", quirks))
    assert verdict.outcome is Outcome.KNOWN
    assert "zero-range-revives-eof-block" in verdict.known


def test_what_differs_without_the_issue_too_is_not_excused_by_it():
    workload = make_workload(HIDDEN, "4k@delalloc")
    quirks = frozenset({"zero_range_revives_eof_block"})
    sides = [buggy(workload, path, quirks) for path in ("bh", "iomap")]
    assert sides[0].model is not None
    same = [msgspec.structs.replace(side, strict=side.model) for side in sides]
    assert settle(*same).outcome is Outcome.MISMATCH


# --- after a crash ----------------------------------------------------------------------

CUT = "pwrite a 0 64k; fsync a; pwrite b 0 8k; fsync b; truncate a 1000; shutdown 2; remount"
GROWN = "pwrite a 0 64k; fsync a; truncate a 20000; pwrite a 100k 8k; shutdown 1; remount"


@pytest.mark.parametrize(
    ("name", "line"), [("eof-zeroes-on-disk", CUT), ("size-of-data-on-disk", GROWN)]
)
def test_what_a_crash_leaves_needs_its_entry(name, line):
    workload = make_workload(line, "4k@nodelalloc")
    one, other = (kernel(workload, side, path) for side, path in (("x", "bh"), ("y", "iomap")))
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    assert any(found.row == name and not found.follows for found in verdict.intended)
    rest = tuple(entry for entry in INTENDED if entry.name != name)
    assert settle(seen(one), seen(other), rest).outcome is Outcome.MISMATCH
    whole = line.replace("; shutdown 2", "").replace("; shutdown 1", "")  # without a crash
    sides = [kernel(make_workload(whole, "4k@nodelalloc"), s, s) for s in ("bh", "iomap")]
    assert not any(f.row == name for f in settle(seen(sides[0]), seen(sides[1])).intended)


def test_at_the_end_a_page_may_be_dirty_as_a_whole_without_a_step_that_says_so():
    line = "falloc a 0 16k; pwrite a 0 16k; fzero a 2k 1k; fzero a 5k 6k"
    workload = make_workload(line, "1k@delalloc")
    one, other = (kernel(workload, name, name) for name in ("bh", "iomap"))
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    signs = {(f.difference.place, f.row) for f in verdict.intended if not f.follows}
    assert ("final", "dirty-as-a-whole") in signs


def test_what_shows_before_a_shutdown_may_show_again_after_the_next_mount():
    """While it is shut down nobody sees the files."""
    line = "falloc_keep a 0 300k; pwrite_fault a 0 12k fault=8k; shutdown 0; pread a 0 4k"
    workload = make_workload(line, "4k@nodelalloc")
    one, other = (kernel(workload, name, name) for name in ("bh", "iomap"))
    assert one.steps[3].observation.error is not None
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    late = {f.difference.field for f in verdict.intended if f.difference.place == "final"}
    assert {"extents", "blocks", "bfree"} <= late


def test_a_crash_may_bring_back_what_showed_before_all_was_the_same_again():
    line = "falloc_keep a 0 300k; pwrite_fault a 0 12k fault=8k; fsync a; unlink a; shutdown 2"
    workload = make_workload(line, "4k@nodelalloc")
    one, other = (kernel(workload, name, name) for name in ("bh", "iomap"))
    assert one.steps[3].observation.files == other.steps[3].observation.files == {}
    assert one.final is not None
    assert one.final.observation.files.keys() == {"a"}
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    late = {f.difference.field for f in verdict.intended if f.difference.place == "final"}
    assert {"extents", "blocks"} <= late


def test_blocks_of_one_file_may_differ_by_two_entries_in_one_step():
    """Each pair of states needs one of its own; a pair that has none is a mismatch."""
    line = (
        "falloc_keep a 0 36k; pwrite_fault a 1021 4097 fault=4k; pwrite_fault a 100k 36506 fault=4k"
    )
    workload = make_workload(line, "4k@delalloc")
    one, other = (kernel(workload, name, name) for name in ("bh", "iomap"))
    near = list(other.steps)
    written = extents((0, 4, U), (4, 4, W), (8, 28, U), (100, 4, D))
    for found, outcome in (
        (written, Outcome.INTENDED),
        (extents((0, 4, U), (4, 4, D), (8, 28, U), (100, 4, D)), Outcome.MISMATCH),
    ):
        near[2] = found(other.steps[2])
        trace = msgspec.structs.replace(other, steps=tuple(near))
        verdict = settle(seen(one), seen(trace))
        assert {m.place for m in verdict.mismatches} == (
            set() if outcome is Outcome.INTENDED else {2}
        )


# --- how far consequences reach ---------------------------------------------------------


def test_what_follows_must_be_of_a_field_that_the_entry_names():
    example = EXAMPLES["short-write-gives-back"][0]
    one, other = example.traces()

    def resized(trace: Trace) -> Trace:
        steps = tuple(with_file(step, size=5) for step in trace.steps)
        return msgspec.structs.replace(trace, steps=steps)

    verdict = settle(seen(one), seen(resized(other)))
    assert [m.field for m in verdict.mismatches] == ["size"]


def test_what_follows_ends_when_both_sides_are_the_same_again():
    line = "pwrite_fault a 0 64k fault=8k; truncate a 0; fsync a; fsync a"
    workload = make_workload(line)
    one, other = (kernel(workload, name, path) for name, path in (("x", "bh"), ("y", "iomap")))
    late = list(other.steps)
    late[3] = with_file(late[3], reserved=7)
    late_trace = msgspec.structs.replace(other, steps=tuple(late))
    verdict = settle(seen(one), seen(late_trace))
    assert [(m.place, m.field) for m in verdict.mismatches] == [(3, "reserved")]


NO_ROOM = "truncate b 4k; truncate a 8m; pwrite a 256k 256k; pwrite a 0 4k; sync"


def ends(trace: Trace, **digests: str) -> Trace:
    """`trace`, with files that hold something else at the end."""
    assert trace.final is not None
    assert trace.final.content is not None
    held = {
        file: msgspec.structs.replace(
            content, sha256=digests.get(file, content.sha256), blocks=None
        )
        for file, content in trace.final.content.items()
    }
    return msgspec.structs.replace(trace, final=msgspec.structs.replace(trace.final, content=held))


def test_contents_may_differ_though_the_files_came_to_look_the_same():
    """One path wrote up to the last block, the other allocated it and wrote nothing."""
    workload = make_workload(f"{NO_ROOM}; pread a 256k 4k; sync", "4k@nodelalloc")
    one, other = (kernel(workload, name, name, free=339) for name in ("bh", "iomap"))
    assert one.steps[4].observation == other.steps[4].observation
    verdict = settle(seen(one), seen(other))
    assert verdict.outcome is Outcome.INTENDED, verdict.mismatches
    late = {(f.difference.place, f.difference.field.partition(",")[0]) for f in verdict.intended}
    assert {(5, "result"), ("final", "content")} <= late
    # What has shown is about these two files, and about contents; a size is not among them.
    steps = [*other.steps[:6], with_file(other.steps[6], size=7)]
    bigger = msgspec.structs.replace(other, steps=tuple(steps))
    verdict = settle(seen(one), seen(bigger))
    assert [(m.place, m.field) for m in verdict.mismatches] == [(6, "size")]


def test_contents_of_a_file_in_which_nothing_showed_may_not():
    workload = make_workload("pwrite a 0 4k; pwrite b 0 64k; fsync b", "4k@delalloc")
    one, other = (kernel(workload, name, name) for name in ("bh", "iomap"))
    sides = ends(one), ends(other, b="0")
    verdict = settle(*map(seen, sides))
    assert [(m.place, m.field) for m in verdict.mismatches] == [("final", "content sha256")]


def test_where_the_model_refuses_nothing_is_excused():
    one, other = EXAMPLES["reserved-in-one-step"][0].traces()
    sides = [msgspec.structs.replace(seen(trace), model=None) for trace in (one, other)]
    verdict = settle(*sides)
    assert verdict.outcome is Outcome.MISMATCH
    assert "does not cover this workload" in verdict.mismatches[0].because[0]


def test_what_both_kernels_do_alike_is_no_matter_of_the_model():
    one, _ = EXAMPLES["reserved-in-one-step"][0].traces()
    wrong = msgspec.structs.replace(one, steps=tuple(with_file(step, size=1) for step in one.steps))
    verdict = settle(seen(wrong, one), seen(msgspec.structs.replace(wrong, subject="b"), one))
    assert verdict.outcome is Outcome.AGREE


# --- the table --------------------------------------------------------------------------


def test_rules_of_the_table_are_rules_of_the_model():
    text = "".join(path.read_text() for path in (TOP / "model").glob("*.py"))
    known = set(re.findall(r'rule\(\s*"([^"]+)"', text))
    used = {
        rule for entry in INTENDED for sign in entry.signs for side in sign.rules for rule in side
    }
    assert used <= known


def test_names_are_unique_and_every_entry_is_on_the_page():
    page = (TOP / "docs/comparing.md").read_text()
    assert len(set(NAMES)) == len(NAMES)
    for entry in INTENDED:
        assert f"`{entry.name}`" in page
