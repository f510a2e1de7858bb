"""What a mismatch leaves behind: a directory that says all and lets anyone repeat it.

It is written beside its place and then renamed, so that it is whole or not there. Older
ones are never written over. `harness.artifacts.read` opens it again.
"""

from __future__ import annotations

import datetime
import errno
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import msgspec

from harness.artifacts.expected_image import ACTUAL, START_IMAGE
from harness.artifacts.manifest import (
    MANIFEST,
    VERDICT,
    Manifest,
    SideNote,
    harness_version,
    now,
    sha256_of,
)
from harness.artifacts.read import EXPECTED, WORKLOAD
from harness.artifacts.readme import readme
from harness.artifacts.reproducers import write_reproducers
from harness.errors import Ext4diffError, UsageError
from harness.generated import generated_from
from harness.pairs import AGAINST_PATH, Pair
from harness.sides.side import on_path
from harness.signature import signature_of
from harness.trace import Observe, encode
from harness.verdict import Compared, encode_verdict
from reports.svg import picture_svg
from reports.terminal import explain, headline
from vm.kept_images import pack
from workloads.images import IMAGES
from workloads.program import Program
from workloads.syntax import format_program
from workloads.workload import Workload

__all__ = [
    "FOLDER", "Origin", "folder_name", "keep", "manifest_bytes", "program_of", "results_folder",
    "try_keep",
]  # fmt: skip

FOLDER = "ext4diff-results"
"""Where results go, below the current directory, unless `--results` says otherwise."""


class Origin(msgspec.Struct, frozen=True):
    """Where a mismatch comes from, if not from a plain run.

    `minimized_from` says what the workload was made smaller from, `flakiness` how many of
    how many runs showed the mismatch.
    """

    minimized_from: str = ""
    flakiness: tuple[int, int] | None = None


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


def keep(
    compared: Compared,
    pair: Pair,
    directory: Path,
    explanation: str,
    origin: Origin = Origin(),  # noqa: B008 - frozen
) -> Path:
    """Write all that is known of `compared` into `directory`; where it then is.

    If something is there already that is `NAME-2`, `NAME-3` and so on. Raises `OSError` if
    the disk is full; nothing is left then.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".artifact-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process of another day
    try:
        temporary.mkdir()
        _fill(compared, pair, temporary, explanation, origin)
        return _placed(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def try_keep(
    compared: Compared,
    pair: Pair,
    directory: Path,
    origin: Origin = Origin(),  # noqa: B008 - frozen
) -> tuple[Path | None, str]:
    """`keep` it with its explanation: where it is, or what to add to the report if it failed."""
    try:
        return keep(compared, pair, directory, explain(compared), origin), ""
    except (OSError, Ext4diffError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return None, f"\n\nNothing could be kept in {directory}: {reason}"


def _placed(temporary: Path, directory: Path) -> Path:
    """Rename it to the first name that is free."""
    for number in itertools.count(1):
        more = f"-{number}" if number > 1 else ""
        target = directory.with_name(directory.name + more)
        try:
            return temporary.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError  # count has no end


def _fill(
    compared: Compared, pair: Pair, directory: Path, explanation: str, origin: Origin
) -> None:
    verdict = compared.verdict
    program = program_of(verdict.workload)
    (directory / "workload.ops").write_text(format_program(program), "utf-8")
    (directory / WORKLOAD).write_bytes(_pretty(msgspec.json.encode(verdict.workload)))
    (directory / VERDICT).write_bytes(_pretty(encode_verdict(verdict)))
    for name, trace in ((EXPECTED, compared.expected), (ACTUAL, compared.actual)):
        if trace is not None:
            (directory / name).write_bytes(_pretty(encode(trace)))
    identity = json.dumps(pair.identity(), indent=2, sort_keys=True)
    (directory / "identity.json").write_text(identity + "\n", "utf-8")
    for side in pair.sides:
        side.save_evidence(directory)
    image = ""
    if compared.expected is not None:
        image = pair.expected.save_image(directory, compared.expected)
    if verdict.workload.config.image.sha256:
        pack(verdict.workload.config.image, directory / START_IMAGE)
    taken = program_of(on_path(verdict.workload, pair.actual.forced_path))
    again = write_reproducers(taken, directory)
    picture = picture_svg(compared)
    if picture is not None:
        (directory / "picture.svg").write_text(picture, "utf-8")
    manifest = _manifest(compared, pair, origin)
    text = readme(
        directory, manifest, explanation=explanation, header=pair.header(),
        subjects=verdict.subjects, again=again, image=image,
    )  # fmt: skip
    (directory / "README.txt").write_text(text, "utf-8")
    (directory / MANIFEST).write_bytes(manifest_bytes(manifest, directory))


def _manifest(compared: Compared, pair: Pair, origin: Origin) -> Manifest:
    verdict, steps = compared.verdict, compared.actual.steps if compared.actual else ()
    signature = signature_of(verdict)
    against = pair.choice.kernel if pair.against in AGAINST_PATH else pair.against
    specs = [_lasting(spec) for spec in (against, pair.choice.kernel)]
    return Manifest(
        harness=harness_version(),
        created=now(),
        workload=verdict.workload.name,
        said=headline(verdict),
        signature=signature.id if signature is not None else "",
        against=pair.against,
        strict=pair.strict,
        sides={
            side.name: SideNote(side.identity(), spec, side.command())
            for side, spec in zip(pair.sides, specs, strict=True)
            if side.identity()
        },
        generated=generated_from(verdict.workload),
        flakiness=origin.flakiness,
        minimized_from=origin.minimized_from,
        observe=Observe.STEPS if all(step.observed for step in steps) else Observe.END,
    )


def _lasting(spec: str | None) -> str | None:
    """A specification of a kernel that means the same in another directory."""
    path = Path(spec).expanduser() if spec else None
    return str(path.absolute()) if path is not None and path.exists() else spec


def manifest_bytes(manifest: Manifest, directory: Path) -> bytes:
    """`manifest` as the file that says what the others in `directory` are."""
    files = {
        path.name: sha256_of(path)
        for path in sorted(directory.iterdir())
        if path.is_file() and path.name != MANIFEST
    }
    return _pretty(msgspec.json.encode(msgspec.structs.replace(manifest, files=files)))


def _pretty(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=1) + b"\n"
