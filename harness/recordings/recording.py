"""Recordings: what a kernel did some other day, as a subject like any other.

A recording is two xz-compressed JSON files: `NAME.workloads.json.xz`, a list of
`{"name", "image", "mount", "ops"}`, and `NAME.jsonl.xz`, one result line per workload
with the observations of `start`, of each step and of `final` (after umount and mount).
Inode numbers are not recorded beside names (`harness.recordings.events`).
"""

from __future__ import annotations

import contextlib
import json
import lzma
import re
from collections.abc import Iterator, Set
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
    "DAMAGED", "LISTED", "RECORDED", "SUFFIX", "UNREADABLE", "Recorded", "Recording", "damage",
    "geometry_of",
    "listed_in", "load", "raw_lines", "recorded_by", "trace_of", "unreadable", "workload_of",
    "workloads_of",
]  # fmt: skip

SUFFIX = ".jsonl.xz"
LISTED = ".workloads.json.xz"
"""How the names of workload lists end."""
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
_SIZE = re.compile(r"(\d{1,9})([KMG])")
_UNITS = {"K": 10, "M": 20, "G": 30}
UNREADABLE = (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError)
"""What reading a file raises that is no recording."""
DAMAGED = (ValueError, TypeError, LookupError, AttributeError)
"""What reading a damaged line raises."""


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


def _made_image(name: str, row: Any) -> Image:
    """The image of a row of `mkfs.json`. Raises ValueError or TypeError if it is damaged."""
    size, options = row
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ValueError(f"the image {name} is {size} large: write 64M, with K, M or G")
    return Image(name, int(match[1]) << _UNITS[match[2]], tuple(options.split()))


def workload_of(raw: dict[str, Any]) -> Workload:
    """A workload as `raw_lines` gives it. Raises one of `DAMAGED` if it is damaged."""
    config = Config(raw["made"], raw["mount"])
    ops = msgspec.convert(raw["ops"], tuple[AnyOp, ...])
    return Workload(raw["name"].split("@")[0], config, ops)


def _trace(raw: dict[str, Any], workload: Workload, subject: str, release: str | None) -> Trace:
    numbers = InodeNumbers()
    steps = []
    if len(raw["steps"]) != len(workload.ops):
        raise ValueError(f"it has {len(raw['steps'])} steps of {len(workload.ops)} operations")
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
        with open_regular(path) as packed, lzma.open(packed) as file:
            return file.read().decode()
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> UsageError:
    """What to raise for the file `path`, whose reading raised `error`, one of `UNREADABLE`."""
    if isinstance(error, EOFError):
        reason: object = "it is cut off; copy it again, or record again"
    else:
        reason = error.strerror if isinstance(error, OSError) else error
    return UsageError(f"{path}: not a readable recording: {reason}")


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
    files = [results.with_name(f"{name}{LISTED}") for name in names]
    return next((file for file in files if file.exists()), files[0])


def _made_images(directory: Path, names: Set[str]) -> dict[str, Image]:
    """How the images `names` were made, as `mkfs.json` beside the recordings says, or ours.

    Raises `UsageError` if it is damaged, or nothing is known of one.
    """
    file = directory / "mkfs.json"
    images = dict(IMAGES)
    with contextlib.suppress(FileNotFoundError):
        try:
            rows = dict(json.loads(file.read_bytes()))
            images |= {name: _made_image(name, rows[name]) for name in names & rows.keys()}
        except DAMAGED as error:
            raise UsageError(f"{file} is damaged: {damage(error)}") from error
    for name in sorted(names - images.keys()):
        raise UsageError(
            f"{file}: nothing is known of the image {name}; say there how mke2fs made it:"
            f' {{"{name}": ["64M", "-b 4096"]}}'
        )
    return images


def damage(error: BaseException) -> str:
    """What is wrong with something that was read, in words."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is cut off, or no JSON: {error}"
    return f"{error}"


def listed_in(listed: Path) -> dict[str, dict[str, Any]]:
    """The workloads of a list, by name. Raises `UsageError` if it is missing or damaged."""
    try:
        return {
            raw["name"]: {**raw, "image": str(raw["image"])} for raw in json.loads(_read(listed))
        }
    except DAMAGED as error:
        raise UsageError(f"{listed}: not a list of workloads: {damage(error)}") from error


def raw_lines(results: Path, listed: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, result line and workload (not decoded yet) of each recorded workload.

    Raises `UsageError` where a file is missing or damaged.
    """
    if results.name.endswith(LISTED):
        recording = results.name.removesuffix(LISTED) + SUFFIX
        raise UsageError(f"{results} lists workloads; the recording of them is {recording}")
    lines = _read(results).splitlines()
    if not listed.exists():
        raise UsageError(
            f"{results}: the list of its workloads, {listed.name}, is not there;"
            " --workloads FILE names another one"
        )
    by_name = listed_in(listed)
    images = _made_images(results.parent, {raw["image"] for raw in by_name.values()})
    for number, line in enumerate(lines, start=1):
        match = _NAME.match(line)
        if match is None or match[1] not in by_name:
            raise UsageError(f"{results}: line {number} is damaged: it names no listed workload")
        raw = by_name[match[1]]
        yield number, line, {**raw, "made": images[raw["image"]]}


def trace_of(line: str, workload: dict[str, Any], subject: str, release: str | None) -> Trace:
    """The trace behind a result line. Raises one of `DAMAGED` if it is damaged."""
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
        except DAMAGED as error:
            raise UsageError(f"{results}: line {number} is damaged: {damage(error)}") from error
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
