"""`ext4diff lint`: are workload files what they should be?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.errors import AGREE, USAGE, UsageError
from harness.whole_file import write_whole
from workloads.files import load
from workloads.program import Program
from workloads.syntax import SUFFIX, WorkloadSyntaxError, format_program

__all__ = ["add", "run"]

HELP = "check workload files, and rewrite them in the canonical form with --fix"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    parser.add_argument("--fix", action="store_true", help="rewrite files in the canonical form")


def run(options: argparse.Namespace) -> int:
    """Check each file; 2 if one can't be read. Raises `UsageError` if there is none."""
    files = [file for path in options.paths for file in _files(path)]
    if not files:
        folders = ", ".join(map(str, options.paths))
        raise UsageError(f"{folders}: no workload files (*{SUFFIX}) are there")
    failed = [file for file in files if not _check(file, options.fix)]
    good = len(files) - len(failed)
    print(f"{good} of {len(files)} workload files are good")
    return USAGE if failed else AGREE


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]


def _check(path: Path, fix: bool) -> bool:
    try:
        program = load(path)
        if fix:
            _rewrite(path, program)
    except WorkloadSyntaxError as error:
        print(error, file=sys.stderr)
        return False
    except OSError as error:
        print(f"cannot read or write {path}: {error.strerror or error}", file=sys.stderr)
        return False
    return True


def _rewrite(path: Path, program: Program) -> None:
    text = format_program(program)
    if text != path.read_text("utf-8"):
        write_whole(path, text)
        print(f"{path}: rewritten")
