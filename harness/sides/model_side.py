"""The model as a side of a comparison."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from harness.artifacts.expected_image import keep_image
from harness.image.look import with_expected_image
from harness.sides.side import Side, on_path
from harness.start import open_start
from harness.trace import Placement, Trace
from model import Behaviour, Model
from model.mount import Mount
from vm import mkfs
from workloads.workload import Workload

__all__ = ["ModelSide"]


class ModelSide(Side):
    """The model; it takes the kernel's paths from the side that it is compared with."""

    name = "model"
    is_model = True

    def __init__(self) -> None:
        self._other: Side | None = None
        self._workload: Workload | None = None
        self._runs: list[tuple[Trace, Mount]] = []

    def meet(self, other: Side) -> None:
        """Stand for the kernel of `other`."""
        self._other = other

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        """What should be seen. Raises `NotModelledError`."""
        other = self._other or Side()
        path, iomap = other.forced_path, other.knows_iomap()
        behaviour = Behaviour.of_release(other.release(), iomap=iomap, quirks=quirks)
        model = Model(behaviour, mkfs.geometry_of, open_start)
        chosen = on_path(workload, path)
        if self._workload != chosen:
            self._workload = chosen
            self._runs.clear()
        began = time.monotonic()
        trace, mount = model.play(chosen, placement)
        played = time.monotonic()
        self.working += played - began
        if trace.final is not None:
            base = mkfs.image_file(chosen.config.image)
            final = with_expected_image(trace.final, mount, base)
            trace = msgspec.structs.replace(trace, final=final)
            self.imaging += time.monotonic() - played
        self._runs.append((trace, mount))
        return trace

    def save_image(self, directory: Path, expected: Trace) -> str:
        """`expected.img.gz`: the image of the file system that `expected` ended with."""
        for trace, mount in self._runs:
            if trace is expected:
                base = mkfs.image_file(trace.workload.config.image)
                return keep_image(mount, base, directory)
        return ""
