"""`ext4diff mail`: a mismatch as a bug report, ready for git send-email."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.artifacts.archive import SUFFIX, ArtifactError
from harness.artifacts.artifact import program_of
from harness.artifacts.read import Artifact, open_artifact
from harness.artifacts.reproducers import RUN, exports, recipe
from harness.errors import AGREE, MachineryError
from harness.pairs import AGAINST_PATH
from harness.sides.side import on_path
from harness.whole_file import write_whole
from reports.mail import LIST, Reproducer, mail
from workloads.formats.exported import said_of
from workloads.workload import PATHS

__all__ = ["add", "run"]

HELP = "write a bug report of an artifact's mismatch, ready for git send-email"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a directory or .tar.zst")
    parser.add_argument(
        "-o", type=Path, metavar="FILE", help="where to write it (default: standard output)"
    )


def run(options: argparse.Namespace) -> int:
    """Write it. Raises `UsageError`, or `MachineryError` if FILE can't be written."""
    with open_artifact(options.artifact) as artifact:
        if not artifact.verdict.mismatches:
            raise ArtifactError(f"{artifact.path} holds no mismatch, so there is none to report")
        text = _mail(artifact)
        notes = artifact.notes
    if options.o is None:
        sys.stdout.write(text)
    else:
        try:
            write_whole(options.o, text)
        except OSError as error:
            raise MachineryError(f"cannot write {options.o}: {error.strerror}") from error
    for note in notes:
        print(f"{options.artifact}: {note}", file=sys.stderr)
    file = options.o or "FILE"
    print(
        f"read it before you send it to {LIST}: is the bug known (docs/bugs.md, the list's"
        f" archive)? are names or paths in it that are not public? then: git send-email {file}",
        file=sys.stderr,
    )
    return AGREE


def _mail(artifact: Artifact) -> str:
    """The mail, with the program for the path that the kernel under test took."""
    path = AGAINST_PATH.get(artifact.manifest.against)
    tested = next(one for one in PATHS if one != path) if path else None
    program = program_of(on_path(artifact.workload, tested))
    exported = exports(program)["c"]
    missing = said_of(exported.left_out, len(program.ops)) if exported.left_out else ()
    name = artifact.path.resolve().name
    return mail(
        artifact.compared,
        artifact.manifest,
        Reproducer("".join(exported.files.values()), recipe(program.configs[0]), RUN["c"], missing),
        artifact.first_bad,
        name if name.endswith(SUFFIX) else f"{name}{SUFFIX}",
    )
