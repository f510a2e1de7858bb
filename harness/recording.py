"""Recordings: what a kernel did some other day, as a subject like any other.

A recording is two xz-compressed JSON files: `NAME.workloads.json.xz`, a list of
`{"name", "image", "mount", "ops"}`, and `NAME.jsonl.xz`, one result line per workload
with the observations of `start`, of each step and of `final` (after umount and mount).
Inode numbers are not recorded beside names; they are recovered from ext4's rule for new
inodes (`InodeNumbers`).
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.image.form import FORM
from harness.trace import (
    Content,
    Event,
    EventKind,
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
from workloads.ops import AnyOp, CopyRange, FileOp, Rename, Sendfile, Splice, Unlink
from workloads.workload import Config, Workload

__all__ = [
    "RECORDED", "SUFFIX", "InodeNumbers", "Recorded", "Recording", "geometry_of", "load",
    "parse_event", "raw_lines", "recorded_by", "trace_of", "workload_of", "workloads_of",
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

FIRST_INODE = 12  # 11 is lost+found

_EVENT = re.compile(
    r"ext4_da_(?P<kind>reserve|release|update_reserve)_space: dev \d+,\d+ ino (?P<ino>\d+) "
    r".*?(?:reserve_blocks|freed_blocks|used_blocks) (?P<count>\d+) ?"
    r"reserved_data_blocks (?P<reserved>\d+)(?: .*?quota_claim (?P<claim>\d+))?"
)


def _named(op: AnyOp) -> list[str]:
    """The files that `op` opens, in its order."""
    names = [op.file] if isinstance(op, FileOp) else []
    return [*names, op.to] if isinstance(op, CopyRange | Sendfile | Splice) else names


class InodeNumbers:
    """Which name holds which inode number: ext4 gives a new file the lowest free one.

    Without a journal it sometimes passes over a number that was just freed
    (`recently_deleted()` in `fs/ext4/ialloc.c`); such events keep the name `ino N`.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._used: set[int] = set()

    def before(self, op: AnyOp, after: Set[str]) -> dict[int, str]:
        """Names by number while `op` runs; `after` holds the names that exist afterwards."""
        if not isinstance(op, Unlink | Rename):
            for name in _named(op):
                if name in after:
                    self._open(name)
        return {number: name for name, number in self._by_name.items()}

    def after(self, op: AnyOp, after: Set[str]) -> None:
        """Take note of the names that `op` removed or moved."""
        moved = self._by_name.get(op.file) if isinstance(op, Rename) else None
        if isinstance(op, Rename) and moved is not None and op.file not in after:
            self._free(op.to)
            self._by_name[op.to] = self._by_name.pop(op.file)
        for name in self._by_name.keys() - after:
            self._free(name)

    def _open(self, name: str) -> None:
        if name not in self._by_name:
            number = FIRST_INODE
            while number in self._used:
                number += 1
            self._by_name[name] = number
            self._used.add(number)

    def _free(self, name: str) -> None:
        number = self._by_name.pop(name, None)
        if number is not None:
            self._used.discard(number)


def parse_event(line: str, names: dict[int, str]) -> Event:
    """A reservation tracepoint's printed text; ValueError if it is none."""
    match = _EVENT.search(line)
    if match is None:
        raise ValueError(f"not a reservation tracepoint: {line!r}")
    number = int(match["ino"])
    return Event(
        kind=EventKind(match["kind"]),
        file=names.get(number, f"ino {number}"),
        count=int(match["count"]),
        reserved=int(match["reserved"]),
        claim=None if match["claim"] is None else match["claim"] == "1",
    )


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
    try:
        made = _made_images(results.parent)
        by_name = {
            raw["name"]: {**raw, "mkfs": made.get(raw["image"])}
            for raw in json.loads(_read(listed))
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{listed}: not a list of workloads: {error!r}") from error
    for number, line in enumerate(_read(results).splitlines(), start=1):
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
