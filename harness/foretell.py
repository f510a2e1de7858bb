"""What the model expects of a workload, in the words of exporters (`workloads.formats`)."""

from __future__ import annotations

from harness.extent import State
from harness.trace import FileObservation, Trace
from model import Behaviour, Model
from vm import mkfs
from workloads.formats.exported import After, Expected, FinalFile, Foretell
from workloads.workload import Config, Workload

__all__ = ["expected_of_trace", "foretelling"]


def foretelling(config: Config) -> Foretell:
    """What the strict model expects of operations on `config`.

    What is returned raises `NotModelledError` for what the model does not cover.
    """
    behaviour = Behaviour(iomap="buffered_iomap" in config.options)
    model = Model(behaviour, mkfs.geometry_of)
    return lambda ops: expected_of_trace(model.run(Workload("export", config, ops)))


def expected_of_trace(trace: Trace) -> Expected:
    """What `trace` showed, for exporters."""
    steps = tuple(
        After(step.result, {name: file.size or 0 for name, file in step.observation.files.items()})
        for step in trace.steps
    )
    final = trace.final.observation.files if trace.final is not None else {}
    return Expected(steps, {name: _final(file) for name, file in final.items()})


def _final(file: FileObservation) -> FinalFile:
    blocks = file.blocks_range if file.blocks is None else (file.blocks, file.blocks)
    extents: tuple[tuple[int, int, bool], ...] | None = None
    if file.extents is not None and all(
        extent.state in (State.WRITTEN, State.UNWRITTEN) for extent in file.extents
    ):
        extents = tuple(
            (extent.start, extent.length, extent.state is State.UNWRITTEN)
            for extent in file.extents
        )
    return FinalFile(file.size or 0, blocks, extents)
