"""What a mismatch leaves behind: a directory that says all and lets anyone repeat it."""

from __future__ import annotations

import datetime
import json
import os.path
import re
from pathlib import Path

import msgspec

from harness.errors import Ext4diffError, UsageError
from harness.expected_image import START_IMAGE
from harness.pairs import Pair
from harness.trace import Trace, encode
from harness.verdict import Compared
from reports.terminal import explain
from vm.kept_images import pack
from workloads.images import IMAGES
from workloads.program import Program
from workloads.syntax import format_program
from workloads.workload import Workload

__all__ = ["FOLDER", "folder_name", "keep", "program_of", "results_folder", "try_keep"]

FOLDER = "ext4diff-results"
"""Where results go, below the current directory, unless `--results` says otherwise."""

README = """\
{explanation}

{header}

Files
  workload.ops    the workload; "ext4diff run {again}workload.ops" runs it again
  workload.json   the same, for programs
  expected.json   the trace of {expecting}
  actual.json     the trace of {seeing}
  identity.json   kernel, QEMU and host
  README.txt      this text
Files that begin with the name of a guest are what it left: its disk image after the
workload (compressed) and the kernel's log.
{image}"""


def program_of(workload: Workload) -> Program:
    """The program that is this workload when it is parsed again."""
    image = workload.config.image
    name, size = image.name, None
    kept = image if image.sha256 else None
    if name not in IMAGES and kept is None:
        name = max((known for known in IMAGES if name.startswith(f"{known}-")), key=len)
        size = image.size
    on = (f"{name}@{workload.config.mount}",)
    return Program(workload.program, workload.ops, workload.shows, on=on, size=size, kept=kept)


def results_folder(given: str | None) -> Path:
    """Where this run's results go: `given`, or a folder named by the time.

    Raises `UsageError` if something else than a directory is in the way.
    """
    if given:
        path = Path(given).absolute()
        there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
        if not there.is_dir():
            raise UsageError(f"--results {given}: {there} is no directory")
        return path
    moment = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    return Path(FOLDER).absolute() / moment


def folder_name(item: str) -> str:
    """A folder's name for a test item: `topic/program.ops::4k@delalloc` without slashes."""
    return re.sub(r"[^A-Za-z0-9@,=_.+-]+", "-", item.replace(".ops::", "@"))


def keep(compared: Compared, pair: Pair, directory: Path, explanation: str) -> None:
    """Write all that is known of `compared` into `directory`; older files are written over.

    Raises `OSError` if the disk is full.
    """
    verdict = compared.verdict
    directory.mkdir(parents=True, exist_ok=True)
    expecting, seeing = verdict.subjects
    header = "\n".join(pair.header())
    image = ""
    if compared.expected is not None:
        image = pair.expected.save_image(directory, compared.expected)
    start, again = verdict.workload.config.image, ""
    if start.sha256:
        pack(start, directory / START_IMAGE)
        image = f"{START_IMAGE} is the image that the workload started from.\n{image}".rstrip()
        again = f"--from {START_IMAGE} "
    text = README.format(
        explanation=explanation, header=header, expecting=expecting, seeing=seeing,
        image=f"{image}\n" if image else "", again=again,
    )  # fmt: skip
    (directory / "README.txt").write_text(text, "utf-8")
    (directory / "workload.ops").write_text(format_program(program_of(verdict.workload)), "utf-8")
    (directory / "workload.json").write_bytes(_pretty(msgspec.json.encode(verdict.workload)))
    for name, trace in (("expected", compared.expected), ("actual", compared.actual)):
        if trace is not None:
            _write_trace(directory / f"{name}.json", trace)
    identity = json.dumps(pair.identity(), indent=2, sort_keys=True)
    (directory / "identity.json").write_text(identity + "\n", "utf-8")
    for side in pair.sides:
        side.save_evidence(directory)


def try_keep(compared: Compared, pair: Pair, directory: Path) -> tuple[Path | None, str]:
    """`keep` it with its explanation: where it is, or what to add to the report if it failed."""
    try:
        keep(compared, pair, directory, explain(compared))
    except (OSError, Ext4diffError) as error:
        return None, f"\n\nNot everything could be kept in {directory}: {error}"
    return directory, ""


def _write_trace(path: Path, trace: Trace) -> None:
    path.write_bytes(_pretty(encode(trace)))


def _pretty(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=1) + b"\n"
