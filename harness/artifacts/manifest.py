"""The manifest of an artifact: which run left it, in a form that programs read."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.trace import Observe

__all__ = [
    "BISECT", "MANIFEST", "VERDICT", "VERSION", "FirstBad", "Generated", "Manifest", "SideNote",
    "harness_version", "now", "sha256_of",
]  # fmt: skip

VERSION = 1
"""Of artifacts; a higher one is read by newer releases of ext4diff only."""
MANIFEST = "manifest.json"
VERDICT = "verdict.json"
BISECT = "bisect.json"
"""The file beside them that names the first bad commit, where one was looked for."""


class SideNote(msgspec.Struct, frozen=True):
    """A side that is a kernel in a guest.

    `identity` is what is known of kernel, QEMU and accelerator, by name (`release`,
    `build_id`, `sha256` of the image, `kernel`: where it came from, `qemu`, `accel`, ...);
    `spec` what `--kernel` or `--against` said, None for the default; `command` QEMU's
    program and arguments, empty if no guest was up any more.
    """

    identity: dict[str, str]
    spec: str | None = None
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The kernel in a line."""
        known = self.identity
        build = f", build id {known['build_id'][:12]}" if known.get("build_id") else ""
        return f"{known.get('release', 'unknown')} ({known.get('kernel', 'unknown')}{build})"


class Generated(msgspec.Struct, frozen=True):
    """A generated program's seed; `config` was chosen by the user, or "" by the seed."""

    kind: str
    seed: int
    index: int
    config: str = ""

    @property
    def command(self) -> str:
        """What prints the program again."""
        on = f" --on {self.config}" if self.config else ""
        return f"ext4diff generate {self.kind} --seed {self.seed} --index {self.index}{on}"


class FirstBad(msgspec.Struct, frozen=True):
    """The commit from which on the workload mismatches; `author` is `NAME <ADDRESS>`."""

    sha: str
    subject: str
    author: str
    date: str
    good: str
    tested: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which run left an artifact.

    `harness` is ext4diff's version, `created` the time in UTC (ISO 8601). `said` is the
    mismatch in a line and `signature` its signature's id. `against` and `strict` are the
    options `--against` and `--strict-model`; `sides` holds those that are kernels, by
    name. `flakiness` is how many of how many runs showed the mismatch, if that was looked
    at; `minimized_from` says what the workload was made smaller from. `observe` says when the
    run that is kept was observed. `files` has the SHA-256 of every other file.
    """

    version: int = VERSION
    harness: str
    created: str
    workload: str
    said: str
    signature: str
    against: str
    strict: bool
    sides: dict[str, SideNote]
    generated: Generated | None = None
    flakiness: tuple[int, int] | None = None
    minimized_from: str = ""
    observe: Observe = Observe.STEPS
    files: Mapping[str, str] = {}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def harness_version() -> str:
    """ext4diff's own version."""
    try:
        return importlib.metadata.version("ext4diff")
    except importlib.metadata.PackageNotFoundError:
        return "of a source tree that is not installed"


def now() -> str:
    """The time in UTC, ISO 8601, in seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
