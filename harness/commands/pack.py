"""`ext4diff pack`: one file of an artifact, to send."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.artifacts.archive import SUFFIX, pack
from harness.artifacts.read import open_artifact
from harness.errors import AGREE, MachineryError, UsageError

__all__ = ["add", "run"]

HELP = f"make one file (a {SUFFIX}) of the directory that a mismatch left, to send"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="the directory")
    parser.add_argument(
        "-o", type=Path, metavar="FILE", help=f"where to write it (default: ARTIFACT{SUFFIX})"
    )


def run(options: argparse.Namespace) -> int:
    """Pack it, once it has been seen to be whole. Raises `UsageError`, `MachineryError`."""
    directory: Path = options.artifact
    if directory.name in ("", ".."):
        directory = directory.resolve()  # which has a name
    if not directory.is_dir():
        raise UsageError(f"{options.artifact} is no directory; only those can be packed")
    target: Path = options.o or directory.with_name(directory.name + SUFFIX)
    if target.exists():
        raise UsageError(f"{target} exists already; remove it, or choose another name by -o")
    with open_artifact(directory) as artifact:
        for note in artifact.notes:
            print(f"{options.artifact}: {note}")
    try:
        pack(directory, target)
    except OSError as error:
        raise MachineryError(f"cannot write {target}: {error.strerror or error}") from error
    print(f"{target}: {-(-target.stat().st_size // 1024)} KiB")
    return AGREE
