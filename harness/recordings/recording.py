"""Recordings: what a kernel did some other day, as a subject like any other.

A recording is two xz-compressed JSON files: `NAME.workloads.json.xz`, a list of
`{"name", "image", "mount", "ops"}`, and `NAME.jsonl.xz`, one result line per workload
with the observations of `start`, of each step and of `final` (after umount and mount).
Inode numbers are not recorded beside names (`harness.recordings.events`).
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.image.form import FORM
from harness.recordings.events import InodeNumbers, parse_event
from harness.trace import (
    Content,
    FileObservation,
    Final,
    Observation,
    Placement,
    Step,
    Trace,
)
from model import Behaviour
from vm.seen import extent_of
from workloads.host_files import open_regular
from workloads.images import IMAGES, Geometry, Image
from workloads.ops import AnyOp
from workloads.workload import Config, Workload

__all__ = [
    "RECORDED", "SUFFIX", "Recorded", "Recording", "geometry_of", "load", "raw_lines",
    "recorded_by", "trace_of", "workload_of", "workloads_of",
]  # fmt: skip

SUFFIX = ".jsonl.xz"
NO_IMAGE = "a recording keeps no image"


class Recorded(msgspec.Struct, frozen=True):
    """The kernel behind a recording.

    `iomap`: it knows the series; `flusher_first`: in sync(2) the flusher thread ran before
    sync's own writeback, which in guests of `vm` it never does. `realtime`: operations were
    of a real-time scheduling class, as they are there.
    """

    release: str | None
    iomap: bool
    flusher_first: bool = False
    realtime: bool = False

    def behaviour(self, quirks: frozenset[str] = frozenset()) -> Behaviour:
        """The model's switches for this kernel, with the `quirks` that it is to follow."""
        return Behaviour.of_release(
            self.release, iomap=self.iomap, cyclic_sync=self.flusher_first,
            waker_preempted=self.realtime, quirks=quirks,
        )  # fmt: skip


RECORDED = {
    "bh": Recorded("7.2.13", iomap=False, flusher_first=True),
    "bh73": Recorded("7.3.4", iomap=False),
    "iomap": Recorded("7.2.13", iomap=True, flusher_first=True),
}
"""By the first part of a recording's name."""

_NUMBERED = re.compile(r"(?P<path>bh|iomap)(?P<major>\d)(?P<minor>\d+)")
"""Path and release (7.3) in the name of a kernel that `RECORDED` does not list."""

_NAME = re.compile(r'\{"name": "([^"]+)"')


def _file(raw: dict[str, Any]) -> FileObservation:
    fiemap = raw["fiemap"]
    failed = isinstance(fiemap, str)
    return FileObservation(
        size=raw["size"],
        blocks=raw["blocks"],
        extents=None if failed else tuple(extent_of(*row) for row in fiemap),
        extents_error=fiemap if failed else None,
    )


def _observation(raw: dict[str, Any]) -> Observation:
    if "error" in raw:
        return Observation(error=raw["error"])
    return Observation(
        files={name: _file(file) for name, file in raw["files"].items()},
        delalloc=raw["delalloc"],
        bfree=raw["bfree"],
        bavail=raw["bavail"],
    )


def _image(raw: dict[str, Any]) -> Image:
    """The image of a workload: ours of that name, or else what mke2fs was told."""
    name, made = raw["image"], raw.get("mkfs")
    if name in IMAGES or made is None:
        return IMAGES[name]
    size, options = made
    number, unit = int(size[:-1]), size[-1]
    return Image(name, number << {"K": 10, "M": 20, "G": 30}[unit], tuple(options.split()))


def workload_of(raw: dict[str, Any]) -> Workload:
    """A workload of a list. Raises ValueError, TypeError or KeyError if it is damaged."""
    config = Config(_image(raw), raw["mount"])
    ops = msgspec.convert(raw["ops"], tuple[AnyOp, ...])
    return Workload(raw["name"].split("@")[0], config, ops)


def _trace(raw: dict[str, Any], workload: Workload, subject: str, release: str | None) -> Trace:
    numbers = InodeNumbers()
    steps = []
    for op, step in zip(workload.ops, raw["steps"], strict=True):
        existing = step["obs"].get("files", {}).keys()
        names = numbers.before(op, existing)
        events = tuple(parse_event(line, names) for line in step["trace"])
        steps.append(Step(step["ret"], events, _observation(step["obs"])))
        if "error" not in step["obs"]:
            numbers.after(op, existing)
    final = raw["final"]
    content = {
        name: Content(file["size"], sha256=file["sha256"])
        for name, file in final.get("files", {}).items()
        if "sha256" in file
    }
    return Trace(
        workload=workload,
        subject=subject,
        start=_observation(raw["start"]),
        steps=tuple(steps),
        final=Final(observation=_observation(final), content=content, unpredicted={FORM: NO_IMAGE}),
        kernel=release,
    )


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return lzma.decompress(file.read()).decode()
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: not a readable recording: {reason}") from error


def recorded_by(name: str) -> Recorded:
    """The kernel behind the recording `name`, by the part of it before the first dash.

    `iomap73` is 7.3 with what else is known of `iomap`. Of another recording nothing is known
    but its name: a kernel with the iomap series, so that no mount option is ignored.
    """
    kernel = name.partition("-")[0]
    numbered = _NUMBERED.fullmatch(kernel)
    if kernel in RECORDED or numbered is None:
        return RECORDED.get(kernel, Recorded(None, iomap=True))
    release = f"{numbered['major']}.{numbered['minor']}"
    return msgspec.structs.replace(RECORDED[numbered["path"]], release=release)


def workloads_of(results: Path) -> Path:
    """Where the workloads of the result file `NAME.jsonl.xz` are.

    `NAME.workloads.json.xz` beside it; a kernel that was given another kernel's list has
    a digit in its name that the list's lacks (`bh73-hand` ran `bh-hand`).
    """
    name = results.name.removesuffix(SUFFIX)
    kernel, dash, rest = name.partition("-")
    names = (name, kernel.rstrip("0123456789") + dash + rest)
    files = [results.with_name(f"{name}.workloads.json.xz") for name in names]
    return next((file for file in files if file.exists()), files[0])


def _made_images(directory: Path) -> dict[str, Any]:
    """Size and mke2fs options of each image, from `mkfs.json` beside the recordings."""
    try:
        made = json.loads((directory / "mkfs.json").read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory / 'mkfs.json'} is damaged: {error!r}") from error
    return dict(made)


def raw_lines(results: Path, listed: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, result line and workload (not decoded yet) of each recorded workload.

    Raises `UsageError` where a file is missing or damaged.
    """
    lines = _read(results).splitlines()
    try:
        made = _made_images(results.parent)
        by_name = {
            raw["name"]: {**raw, "mkfs": made.get(raw["image"])}
            for raw in json.loads(_read(listed))
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{listed}: not a list of workloads: {error!r}") from error
    for number, line in enumerate(lines, start=1):
        match = _NAME.match(line)
        if match is None or match[1] not in by_name:
            raise UsageError(f"{results}: line {number} is damaged: it names no listed workload")
        yield number, line, by_name[match[1]]


def trace_of(line: str, workload: dict[str, Any], subject: str, release: str | None) -> Trace:
    """The trace behind a result line. Raises ValueError, TypeError or KeyError if damaged."""
    return _trace(json.loads(line), workload_of(workload), subject, release)


def load(directory: Path, name: str, workloads: str | None = None) -> Iterator[Trace]:
    """The traces of recording `name`, in the order in which they were recorded.

    `workloads` names the workload list where it is not `name`'s own. Raises `UsageError`
    where a file is missing or damaged.
    """
    results = directory / f"{name}{SUFFIX}"
    listed = directory / f"{workloads or name}.workloads.json.xz"
    for number, line, workload in raw_lines(results, listed):
        try:
            trace = trace_of(line, workload, name, recorded_by(name).release)
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{results}: line {number} is damaged: {error!r}") from error
        yield trace


def geometry_of(trace: Trace) -> Geometry:
    """What the model needs to know of the image behind `trace`, from its first observation.

    The recorded images have no superuser's reserve (`-m 0`).
    """
    image = trace.workload.config.image
    if trace.start.bfree is None:
        raise UsageError(f"{trace.workload.name}: the recording has no free block count")
    return Geometry(
        blocks=image.size // image.block_size,
        free_blocks=trace.start.bfree,
        reserved_blocks=0,
        block_size=image.block_size,
        cluster_size=image.cluster_size,
    )


class Recording:
    """The subject that answers from a recording."""

    def __init__(self, directory: Path, name: str, workloads: str | None = None) -> None:
        self.name = name
        self.traces = {
            (trace.workload.program, trace.workload.config): trace
            for trace in load(directory, name, workloads)
        }

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:  # noqa: ARG002
        """The recorded trace; `UsageError` if this workload was not recorded."""
        trace = self.traces.get((workload.program, workload.config))
        if trace is None or trace.workload.ops != workload.ops:
            raise UsageError(f"{self.name} holds no recording of {workload.name}")
        return trace
