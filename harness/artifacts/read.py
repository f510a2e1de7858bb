"""Artifacts, opened: what `harness.artifacts.artifact` has written, here or on another machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.artifacts.archive import SUFFIX, ArtifactError, unpacked
from harness.artifacts.expected_image import ACTUAL, START_IMAGE
from harness.artifacts.manifest import (
    BISECT,
    MANIFEST,
    VERDICT,
    VERSION,
    FirstBad,
    Manifest,
    harness_version,
    sha256_of,
)
from harness.start import start_from
from harness.trace import Trace, decode
from harness.verdict import Compared, Verdict, decode_verdict
from workloads.workload import Workload

__all__ = [
    "EXPECTED", "WORKLOAD", "Artifact", "ArtifactError", "is_artifact", "is_kept", "open_artifact",
]  # fmt: skip

EXPECTED = "expected.json"
WORKLOAD = "workload.json"
_NEEDED = (VERDICT, WORKLOAD)
_PIECE = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Artifact:
    """An artifact in `directory`, which goes when `open_artifact` ends if it was an archive.

    `path` is what the user named. `expected` and `actual` are None where that side gave no
    trace. `first_bad` is there if a bisection left one. `notes` are sentences about what is
    not as it was written.
    """

    path: Path
    directory: Path
    manifest: Manifest
    workload: Workload
    verdict: Verdict
    expected: Trace | None = None
    actual: Trace | None = None
    first_bad: FirstBad | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def compared(self) -> Compared:
        """The verdict with its traces, as reports want it."""
        return Compared(self.verdict, self.expected, self.actual)

    def provide_start(self) -> None:
        """Put the image that the workload starts from where both sides look for it.

        Nothing is to be done for one that mke2fs makes. Raises `ArtifactError` if the
        artifact has another one or none, `UsageError` if it is damaged.
        """
        wanted = self.workload.config.image
        if not wanted.sha256:
            return
        file = self.directory / START_IMAGE
        if not file.is_file():
            raise ArtifactError(_missing(self.path, START_IMAGE))
        given = start_from(file)
        if given.sha256 != wanted.sha256:
            raise ArtifactError(
                f"{file} is not the image that the workload started from: its sha256 begins with"
                f" {given.sha256[:12]}, that of the right one with {wanted.sha256[:12]}"
            )


def is_artifact(path: Path) -> bool:
    """Whether `path` looks like an artifact, of this release or another."""
    return (path / MANIFEST).is_file() if path.is_dir() else path.name.endswith(SUFFIX)


def is_kept(text: str) -> bool:
    """Whether a word of the command line names an artifact, good or not, and no workload."""
    with contextlib.suppress(OSError, ValueError):  # a line may be too long for a name
        return Path(text).is_dir() or (text.endswith(SUFFIX) and "\n" not in text)
    return False


@contextlib.contextmanager
def open_artifact(path: Path) -> Iterator[Artifact]:
    """The artifact `path`, a directory or a .tar.zst.

    Raises `ArtifactError` if it is damaged, incomplete, of a newer release, or none at all;
    `MachineryError` if there is no room to unpack it.
    """
    with contextlib.ExitStack() as stack:
        directory = path if path.is_dir() else stack.enter_context(unpacked(path))
        yield _read(path, directory)


def _read(path: Path, directory: Path) -> Artifact:
    manifest = _manifest(path, directory)
    for name in _NEEDED:
        if not (directory / name).is_file():
            raise ArtifactError(_missing(path, name))
    return Artifact(
        path=path,
        directory=directory,
        manifest=manifest,
        workload=_decoded(path, directory / WORKLOAD, _workload),
        verdict=_decoded(path, directory / VERDICT, decode_verdict),
        expected=_optional(path, directory / EXPECTED, decode),
        actual=_optional(path, directory / ACTUAL, decode),
        first_bad=_optional(path, directory / BISECT, _first_bad),
        notes=tuple(_notes(directory, manifest)),
    )


class _Version(msgspec.Struct):
    version: int
    harness: str = "unknown"


def _manifest(path: Path, directory: Path) -> Manifest:
    file = directory / MANIFEST
    if not file.is_file():
        raise ArtifactError(_no_manifest(path, directory))
    known = _decoded(path, file, lambda data: msgspec.json.decode(data, type=_Version))
    if known.version > VERSION:
        raise ArtifactError(
            f"{path} was written by ext4diff {known.harness}, in version {known.version} of"
            f" artifacts; this is ext4diff {harness_version()}, which knows up to version"
            f" {VERSION}: use a newer ext4diff. README.txt in it is for people, reproduce.sh and"
            " reproduce.c run without ext4diff"
        )
    return _decoded(path, file, lambda data: msgspec.json.decode(data, type=Manifest))


def _no_manifest(path: Path, directory: Path) -> str:
    """What a directory without manifest is: of an older release, or something else."""
    if not (directory / WORKLOAD).is_file():
        return (
            f"{path} is no artifact: it has no {MANIFEST}. An artifact is the directory that"
            f" `Kept in:` names, or what `ext4diff pack` made of one"
        )
    start = f"--from {directory / START_IMAGE} " if (directory / START_IMAGE).is_file() else ""
    return (
        f"{path} is old: it was written before artifacts had a {MANIFEST}, and can't be replayed"
        f" as it was. Its workload still runs: ext4diff run {start}{directory}/workload.ops"
        " (with the --kernel that identity.json names) leaves a new artifact if it mismatches"
    )


def _missing(path: Path, name: str) -> str:
    return (
        f"{path} is incomplete: {name} is missing; get it again. Its workload, if it is there,"
        f" still runs: ext4diff run {path}/workload.ops"
    )


def _decoded(path: Path, file: Path, decoder: Callable[[bytes], T]) -> T:
    try:
        return decoder(file.read_bytes())
    except msgspec.MsgspecError as error:
        raise ArtifactError(
            f"{path} is damaged: {file.name} can't be read ({error}); get it again"
        ) from error
    except OSError as error:
        raise ArtifactError(f"cannot read {file}: {error.strerror}") from error


def _optional(path: Path, file: Path, decoder: Callable[[bytes], T]) -> T | None:
    return _decoded(path, file, decoder) if file.is_file() else None


def _workload(data: bytes) -> Workload:
    return msgspec.json.decode(data, type=Workload)


def _first_bad(data: bytes) -> FirstBad:
    return msgspec.json.decode(data, type=FirstBad)


def _notes(directory: Path, manifest: Manifest) -> Iterator[str]:
    """What is gone or changed since the artifact was written; it may still do."""
    for name, digest in manifest.files.items():
        file = directory / name
        if not file.is_file():
            yield f"{name} is missing from the artifact"
        elif sha256_of(file) != digest:
            yield f"{name} is not as it was written: somebody changed it, or it is damaged"
