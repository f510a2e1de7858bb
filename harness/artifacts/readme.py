"""The README of an artifact: what happened in words, how to see it again, what each file is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.artifacts.expected_image import ACTUAL, START_IMAGE
from harness.artifacts.manifest import MANIFEST, VERDICT, Manifest
from harness.artifacts.read import EXPECTED, WORKLOAD
from harness.pairs import MODEL
from harness.trace import Observe
from reports.words import columns

__all__ = ["readme"]

_TEXT = """\
{explanation}

{header}
{origin}
How to see it again (DIRECTORY is this one; an archive of it, DIRECTORY.tar.zst, does too)
  ext4diff replay DIRECTORY     runs it, and says whether this mismatch shows
  ext4diff minimize DIRECTORY   looks for a shorter workload that shows it
  ext4diff shell DIRECTORY      a shell in the guest, before the step that differs
  ext4diff mail DIRECTORY       a report of it for a mailing list
  ext4diff pack DIRECTORY       makes one file of it, to send

Without ext4diff, as root, on a kernel that has it
{again}

Files
{files}
{image}"""


def readme(
    directory: Path,
    manifest: Manifest,
    *,
    explanation: str,
    header: Sequence[str],
    subjects: tuple[str, str],
    again: Sequence[str],
    image: str,
) -> str:
    """The text for what is in `directory`; `again` are the commands that need no ext4diff,
    `image` is what to say of the expected image."""
    origin = [f"  {line}" for line in _origin(manifest)]
    start = (directory / START_IMAGE).is_file()
    rows = [
        (name, what)
        for name, what in _files(subjects, _options(manifest, start))
        if name in (MANIFEST, "README.txt") or (directory / name).is_file()
    ]
    for side in manifest.sides:
        rows += [
            (f"{side}.{suffix}", what)
            for suffix, what in _OF_GUEST.items()
            if (directory / f"{side}.{suffix}").is_file()
        ]
    if start:
        image = f"{START_IMAGE} is the image that the workload started from.\n{image}".rstrip()
    return _TEXT.format(
        explanation=explanation,
        header="\n".join(header),
        origin="\n".join(["", "Where it comes from", *origin, ""]),
        again="\n".join(f"  {line}".rstrip() for line in again),
        files="\n".join(columns(rows)),
        image=f"{image}\n" if image else "",
    )


def _options(manifest: Manifest, start: bool) -> str:
    """What `ext4diff run` has to be told to do as this run did, a blank behind it."""
    return "".join([
        f"--from {START_IMAGE} " if start else "",
        f"--against {shlex.quote(manifest.against)} " if manifest.against != MODEL else "",
        "--strict-model " if manifest.strict else "",
        "--observe end " if manifest.observe is Observe.END else "",
    ])  # fmt: skip


def _origin(manifest: Manifest) -> Iterator[str]:
    yield f"ext4diff {manifest.harness}, {manifest.created}"
    if manifest.signature:
        yield f"signature {manifest.signature}: findings with the same one have the same cause"
    if manifest.strict:
        yield "run with --strict-model: what a known issue explains is a mismatch"
    if manifest.observe is Observe.END:
        yield "observed at the end only: observed after every step it shows no such mismatch"
    if manifest.generated is not None:
        yield f"generated; the program again: {manifest.generated.command}"
    if manifest.minimized_from:
        yield f"minimized from {manifest.minimized_from}"
    if manifest.flakiness is not None:
        shown, runs = manifest.flakiness
        yield f"{shown} of {runs} runs showed it"


def _files(subjects: tuple[str, str], again: str) -> Iterator[tuple[str, str]]:
    expecting, seeing = subjects
    yield "workload.ops", f'the workload; "ext4diff run {again}workload.ops" runs it again'
    yield WORKLOAD, "the same, for programs"
    yield VERDICT, "what differs, for programs"
    yield EXPECTED, f"the trace of {expecting}"
    yield ACTUAL, f"the trace of {seeing}"
    yield "identity.json", "kernel, QEMU and host"
    yield MANIFEST, "which run this was, and the SHA-256 of each file"
    yield "reproduce.sh", "the workload as xfs_io commands"
    yield "reproduce.c", "the workload as a C program"
    yield "picture.svg", "the blocks of the files that differ, before and after the step"
    yield "README.txt", "this text"


_OF_GUEST = {
    "img.gz": "the guest's disk after the workload",
    "kernel.log": "its console: boot and the kernel's log",
    "netconsole.log": "its log as it came by network",
    "panic.txt": "the panic's report",
    "kernel.config": "its kernel's configuration",
    "qemu.txt": "QEMU's command line",
}
