"""Recordings of a run: what a kernel did, a trace a line, in an xz-compressed file.

`ext4diff run --record` and `ext4diff differential --record` write them; `check-recording`
holds the model against them where there is no guest. Each line is whole: it says what the
image's superblock said at the start and what the kernel knows, so that nothing else is needed.
"""

from __future__ import annotations

import contextlib
import lzma
import os
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from harness.errors import MachineryError, UsageError
from harness.known_issue import parse_release
from harness.recordings.recording import SUFFIX, UNREADABLE, Recorded, unreadable
from harness.trace import Trace, decode, encode
from harness.verdict import Compared
from workloads.host_files import open_regular
from workloads.images import Geometry
from workloads.workload import Config

__all__ = [
    "SUFFIX", "Head", "Kept", "TraceFile", "head_of", "is_kept", "kept_line", "kept_lines",
    "parse_kept",
]  # fmt: skip

_BEGIN = b'{"geometry":'
"""What a line of such a file begins with, and no other recording's."""


class _Line(msgspec.Struct, frozen=True):
    geometry: Geometry
    iomap: bool
    trace: msgspec.Raw


class Kept(msgspec.Struct, frozen=True):
    """A trace that was kept: `geometry` is of its image at the start, `iomap` says whether its
    kernel knows the mount option `buffered_iomap`."""

    geometry: Geometry
    iomap: bool
    trace: Trace

    @property
    def kernel(self) -> Recorded:
        """The kernel behind it."""
        return Recorded(self.trace.kernel, iomap=self.iomap, realtime=True)


def kept_line(compared: Compared, geometry: Geometry, iomap: bool) -> bytes | None:
    """What the side under test did as a line, its end included; None if it did not come to the
    end of the workload.

    Paths of this machine are left out of what is known of the kernel: the file goes elsewhere.
    """
    trace = compared.actual
    if trace is None or trace.final is None:
        return None
    facts = {name: fact for name, fact in trace.identity.items() if not str(fact).startswith("/")}
    data = encode(msgspec.structs.replace(trace, identity=facts))
    return msgspec.json.encode(_Line(geometry, iomap, msgspec.Raw(data))) + b"\n"


def parse_kept(line: str | bytes) -> Kept:
    """The trace behind a line. Raises `msgspec.MsgspecError` or `ValueError` if it is damaged."""
    raw = msgspec.json.decode(line, type=_Line)
    kept = Kept(raw.geometry, raw.iomap, decode(bytes(raw.trace)))
    _check(kept)
    return kept


def _check(kept: Kept) -> None:
    """Raise `ValueError` if the parts of a line do not fit each other."""
    trace, geometry = kept.trace, kept.geometry
    image = trace.workload.config.image
    if len(trace.steps) != len(trace.workload.ops):
        counts = f"{len(trace.workload.ops)} operations, and {len(trace.steps)} steps"
        raise ValueError(f"it has {counts}")
    sizes = (image.block_size, image.cluster_size)
    fits = (geometry.block_size, geometry.cluster_size) == sizes
    if not fits or not 0 <= geometry.free_blocks <= geometry.blocks:
        raise ValueError("it has another geometry than its image")
    if trace.kernel is not None and parse_release(trace.kernel) is None:
        raise ValueError(f"{trace.kernel} is no kernel release")


class _Named(msgspec.Struct, frozen=True):
    program: str
    config: Config
    ops: msgspec.Raw


class _Of(msgspec.Struct, frozen=True):
    workload: _Named
    kernel: str | None = None


class _Head(msgspec.Struct, frozen=True):
    trace: _Of


class Head(NamedTuple):
    """What a line tells without being decoded as a whole; `ops` are equal for equal operations
    of one kind of recording."""

    program: str
    config: Config
    ops: Hashable
    release: str | None


def head_of(line: str | bytes) -> Head:
    """The head of a line. Raises `msgspec.MsgspecError` if it is damaged."""
    trace = msgspec.json.decode(line, type=_Head).trace
    named = trace.workload
    return Head(named.program, named.config, bytes(named.ops), trace.kernel)


def is_kept(path: Path) -> bool:
    """Whether the file `path` holds such lines; False if it can't be read, too."""
    with (
        contextlib.suppress(OSError, lzma.LZMAError, EOFError),
        open_regular(path) as packed,
        lzma.open(packed) as file,
    ):
        return file.read(len(_BEGIN)) == _BEGIN
    return False


def kept_lines(path: Path) -> Iterator[bytes]:
    """The lines of the file `path`. Raises `UsageError` if it can't be read to its end."""
    try:
        with open_regular(path) as packed, lzma.open(packed) as file:
            yield from file
    except UNREADABLE as error:
        raise unreadable(path, error) from error


class TraceFile:
    """The file `path`, while a run writes it.

    It is there under its name when `close` has been called, also if the run was interrupted:
    what it has is whole. Raises `UsageError` at once if it can't be written.
    """

    def __init__(self, path: Path) -> None:
        if not path.name.endswith(SUFFIX):
            raise UsageError(f"--record {path}: name it FILE{SUFFIX}")
        if path.exists():
            raise UsageError(f"--record {path}: it exists; move it away or give another name")
        self.path, self.count, self.missed = path, 0, 0
        self._part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = lzma.open(self._part, "wb")  # noqa: SIM115 - open as long as the run
        except OSError as error:
            raise UsageError(f"--record {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def add(self, line: bytes | None) -> None:
        """Write a line of `kept_line`, if there is one. Raises `MachineryError` if the disk is
        full."""
        if line is None:
            self.missed += 1
            return
        try:
            self._file.write(line)
        except OSError as error:
            raise MachineryError(f"cannot write {self.path}: {error.strerror}") from error
        self.count += 1

    def close(self) -> None:
        """Give the file its name; nothing is left if no trace was written. May be called again.

        Raises `MachineryError` if the disk is full.
        """
        if self._file.closed:
            return
        try:
            self._file.close()
            if self.count:
                self._part.replace(self.path)
        except OSError as error:
            raise MachineryError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            self._part.unlink(missing_ok=True)

    def told(self) -> str:
        """A line on what it holds."""
        if not self.count:
            return f"nothing was recorded in {self.path}"
        traces = "1 trace is" if self.count == 1 else f"{self.count} traces are"
        told = f"{traces} recorded in {self.path} (ext4diff check-recording reads it)"
        if self.missed:
            told += f"; {self.missed} more left no whole trace, and are not in it"
        return told
