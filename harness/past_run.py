"""The results of a differential run as rows, so that they are reported as a night's are."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.generated import EXHAUSTIVE
from reports.rows import Night, Row
from reports.summary import Digest
from workloads.generate import KINDS

__all__ = ["is_run", "read_run"]

RESULTS = "results.jsonl"
CATALOGUE = "catalogue"
_GENERATED = re.compile(rf"({'|'.join((*KINDS, EXHAUSTIVE))})(?:/seed-(\d+))?/(\d+)::")


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a differential run, or the results in it."""
    return path.is_dir() or path.name.endswith(".jsonl")


def read_run(path: Path) -> tuple[Night, list[Row]]:
    """The run in `path` (see `is_run`). A last line that was cut off is left out.

    Raises `UsageError` if there are no results, or they are not what they should be.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        lines = file.read_bytes().splitlines(keepends=True)
        began = int(file.parent.stat().st_mtime)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}; give a run's folder") from error
    whole = [line for line in lines if line.endswith(b"\n")]
    try:
        digests = [msgspec.json.decode(line, type=Digest) for line in whole]
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UsageError(f"{file} holds no results of this version: {error}") from error
    folder = file.absolute().parent
    night = Night(
        folder.name, line="differential run", order=began, began=_moment(folder.name),
        seconds=0.0, kernel=_identity(folder),
    )  # fmt: skip
    return night, [_row(night.id, _relative(digest, folder)) for digest in digests]


def _relative(digest: Digest, folder: Path) -> Digest:
    """`digest` with the place of its artifact from `folder`, if it is in there."""
    kept = digest.kept_in or ""
    if not kept.startswith(f"{folder}/"):
        return digest
    return msgspec.structs.replace(digest, kept_in=kept.removeprefix(f"{folder}/"))


def _row(night: str, digest: Digest) -> Row:
    found = _GENERATED.match(digest.name)
    if found is None:
        return Row(night, CATALOGUE, digest)
    kind, seed, number = found.groups()
    return Row(night, kind, digest, None if seed is None else int(seed), int(number))


def _moment(name: str) -> str:
    """The time that a run's folder is named by, as ISO 8601; nothing if it has another name."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)", name)
    return f"{found[1]}T{found[2]}:{found[3]}:{found[4]}" if found else ""


def _identity(folder: Path) -> str:
    try:
        return (folder / "identity.json").read_text("utf-8")
    except OSError:
        return "{}"
