"""What the model does in the examples that the documents name: programs of the catalogue,
recorded ones, and lines of operations."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest
from modelled import RECORDINGS

from harness.coverage.reached import contiguous
from harness.recordings.recording import geometry_of, raw_lines, recorded_by, trace_of
from harness.trace import Placement, Trace, placement_of
from model import Behaviour, Model
from workloads.files import catalogue
from workloads.images import IMAGES, Geometry, Image
from workloads.program import Program
from workloads.syntax import parse_line, workloads
from workloads.workload import Workload

__all__ = [
    "DOCS", "MODEL", "PROGRAMS", "Example", "Ran", "exists", "geometry", "known", "notices", "run",
    "run_usual",
]  # fmt: skip

ROOT = Path(__file__).parent.parent
DOCS, MODEL = ROOT / "docs", ROOT / "model"
PROGRAMS = {program.name: program for program in catalogue()}

FREE = {
    "4k": 14327, "1k": 41950, "2k": 21999, "bigalloc16k": 15084, "bigalloc64k": 15216,
    "1kbigalloc8k": 43472, "nocsum4k": 14327, "nojournal": 15351, "ext3ish": 14326,
    "inline": 14328, "small4k": 2807, "quota4k": 14325, "quotabig16k": 15080,
}  # fmt: skip
"""f_bfree of each image after mke2fs."""


class Example(NamedTuple):
    """A program by name, `hand/NAME` or `extra/NAME` of the recordings, or `op; op; ...`;
    `placed` tells whether the model knows where the blocks are."""

    text: str
    iomap: bool
    placed: bool = True


class Ran(NamedTuple):
    """Runs of the model: functions used as `module.qualified.name`, rule strings, traces."""

    functions: frozenset[str]
    reports: frozenset[str]
    traces: tuple[Trace, ...]


class Case(NamedTuple):
    """A workload with all that the model is told."""

    behaviour: Behaviour
    start: Geometry
    workload: Workload
    placement: Placement | None

    def trace(self) -> Trace:
        """Run the model on it."""
        return Model(self.behaviour, lambda _: self.start).run(self.workload, self.placement)


def exists(name: str) -> bool:
    """Whether `module.function` is in model/."""
    module, *parts = name.split(".")
    thing: object = importlib.import_module(f"model.{module}")
    for part in parts:
        thing = getattr(thing, part, None)
    return thing is not None


def _disable(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let a function of model/ do nothing and return None, wherever it was imported."""
    module, *parts, last = name.split(".")
    holder: Any = importlib.import_module(f"model.{module}")
    for part in parts:
        holder = getattr(holder, part)
    old = vars(holder)[last]

    def nothing(*_: object, **__: object) -> None:
        return None

    new: object = nothing
    if isinstance(old, property):
        new = property(nothing)
    elif isinstance(old, classmethod):
        new = classmethod(nothing)
    holders = [holder] if parts else [m for n, m in sys.modules.items() if n.startswith("model.")]
    for place in holders:
        if vars(place).get(last) is old:
            patch.setattr(place, last, new)


def known(example: Example) -> bool:
    """Whether there is such a program."""
    if ";" in example.text:
        return bool(parse_line(example.text, "example").ops)
    return example.text in PROGRAMS or (
        "/" in example.text and _recorded(example.text, example.iomap) is not None
    )


def run(example: Example, **switches: Any) -> Ran:
    """The model on all configurations of the program, on the first one of a recorded one."""
    found = [_observed(case) for case in _cases(example, switches)]
    return Ran(
        frozenset().union(*(ran.functions for ran in found)),
        frozenset().union(*(ran.reports for ran in found)),
        tuple(trace for ran in found for trace in ran.traces),
    )


run_usual = cache(run)
"""`run`, once for each example."""


def notices(example: Example, functions: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the model predicts something else, or falls over, with one of `functions`
    doing nothing."""
    pairs = list(zip(_cases(example, {}), run_usual(example).traces, strict=True))
    for name in functions:
        with monkeypatch.context() as patch:
            _disable(name, patch)
            if not all(_shows(case, usual) for case, usual in pairs):
                return True
    return False


def _shows(case: Case, usual: Trace) -> bool:
    """Whether the model, as it is now, predicts what it usually does."""
    try:
        return case.trace() == usual
    except Exception:
        return False


def geometry(image: Image) -> Geometry:
    """What `image`, of its usual size or another one, says after mke2fs."""
    name = image.name.partition("-")[0]  # `1k-16m` is the image 1k, but of 16 MiB
    full = IMAGES[name]
    taken = full.size // full.block_size - FREE[name]
    blocks = image.size // image.block_size
    return Geometry(blocks, blocks - taken, 0, image.block_size, image.cluster_size)


def _observed(case: Case) -> Ran:
    """Run the model and note its functions and rules."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        trace = case.trace()
    finally:
        sys.setprofile(before)
    functions = {
        f"{Path(code.co_filename).stem}.{code.co_qualname}"
        for code in codes
        if Path(code.co_filename).parent == MODEL
    }
    reports = {text for step in trace.steps for text in step.because}
    return Ran(frozenset(functions), frozenset(reports), (trace,))


def _cases(example: Example, switches: dict[str, Any]) -> Iterator[Case]:
    """The program on each of its configurations, a recorded one on the first."""
    if ";" in example.text:
        yield from _of_program(parse_line(example.text, "example"), example, switches)
    elif "/" in example.text:
        found = _recorded(example.text, example.iomap)
        assert found, f"no recorded program {example.text}"
        yield _of_recording(*found, switches)
    else:
        yield from _of_program(PROGRAMS[example.text], example, switches)


def _of_program(program: Program, example: Example, switches: dict[str, Any]) -> Iterator[Case]:
    iomap = example.iomap
    for workload in workloads(program):
        config = workload.config.with_options("buffered_iomap") if iomap else workload.config
        chosen = Workload(workload.program, config, workload.ops, workload.shows)
        behaviour = Behaviour(**{"iomap": iomap, **switches})
        placement = contiguous(chosen) if example.placed else None
        yield Case(behaviour, geometry(config.image), chosen, placement)


@cache
def _recording(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Result line and listing of each workload of a recording."""
    lines = raw_lines(RECORDINGS / f"{name}.jsonl.xz", RECORDINGS / f"{name}.workloads.json.xz")
    return {workload["name"]: (line, workload) for _, line, workload in lines}


def _recorded(text: str, iomap: bool) -> tuple[str, str] | None:
    """The recording and the first workload that `hand/NAME` or `extra/NAME` means."""
    kind, _, name = text.partition("/")
    recording = f"{'iomap' if iomap else 'bh'}-{kind}"
    for listed in _recording(recording):
        if listed == name or listed.startswith(f"{name}@"):
            return recording, listed
    return None


def _of_recording(recording: str, name: str, switches: dict[str, Any]) -> Case:
    kernel = recorded_by(recording)
    line, listed = _recording(recording)[name]
    seen = trace_of(line, listed, recording, kernel.release)
    standard = {
        "iomap": kernel.iomap, "cyclic_sync": kernel.flusher_first, "waker_preempted": False,
    }  # fmt: skip
    behaviour = Behaviour(**{**standard, **switches})
    return Case(behaviour, geometry_of(seen), seen.workload, placement_of(seen))
