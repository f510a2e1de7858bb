"""One differing field of one step, as the entries of `harness.differences.table` look at it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.trace import Event, FileObservation, Observation, State, Trace
from harness.verdict import Place
from workloads.ops import Op
from workloads.workload import Config

__all__ = ["Blocks", "Moment", "Shape"]


class Moment(msgspec.Struct, frozen=True):
    """One differing field: where, and what each of the two sides saw and did in that step.

    `file` is None for what belongs to the whole file system. `values` are as `Mismatch`
    has them, `files` and `events` those of this file (None at the end, or if not seen),
    `before` what was seen last before the step, of all files, `rules` those that the sides'
    models applied in the step, `history` in it or before. `traces` are all that the sides saw.
    """

    place: Place
    op: Op | None
    config: Config
    file: str | None
    field: str
    values: tuple[object, object]
    files: tuple[FileObservation | None, FileObservation | None]
    before: tuple[Observation, Observation]
    events: tuple[tuple[Event, ...], tuple[Event, ...]]
    rules: tuple[frozenset[str], frozenset[str]]
    history: tuple[frozenset[str], frozenset[str]]
    traces: tuple[Trace, Trace]


Shape = Callable[[Moment], bool]
"""Whether a difference looks as described."""
Blocks = State | None
"""State of a block: None is a hole."""
