"""`ext4diff import`: a workload from a format that people already have."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import msgspec

from harness.errors import AGREE, UsageError
from harness.programs import config_named
from harness.whole_file import write_whole
from workloads.files import read_text
from workloads.formats.imported import Imported
from workloads.formats.paths import Paths
from workloads.formats.registry import IMPORTS, Import, detect
from workloads.syntax import WorkloadSyntaxError, format_program

__all__ = ["add", "run"]

HELP = "make a workload of an fsx log, an xfs_io script, a syzkaller program or an strace log"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "words", nargs="+", metavar="[FORMAT] FILE",
        help="formats: " + "; ".join(f"{each.name}: {each.what}" for each in IMPORTS.values()),
    )  # fmt: skip
    parser.add_argument("-o", type=Path, metavar="OUT.ops", help="default: standard output")
    parser.add_argument(
        "--config", action="append", metavar="IMAGE@MOUNT", help="where it matters (repeatable)"
    )
    parser.add_argument("--root", metavar="DIR", help="where the file system was mounted")
    parser.add_argument(
        "--cwd", metavar="DIR", help="where relative paths start (default: at the root)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the workload; what was left out goes to standard error. Raises `UsageError`."""
    if len(options.words) > 2:
        raise UsageError("import takes a format and one file")
    path = Path(options.words[-1])
    try:
        text = read_text(path, "give a log or a script")
        chosen = _format(options.words, text)
        where = Paths(options.root, options.cwd)
        imported = chosen.read(text, _name(path), str(path), where)
    except WorkloadSyntaxError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    program = imported.program
    if options.config:
        names = dict.fromkeys(config_named(name).name for name in options.config)
        program = msgspec.structs.replace(program, on=tuple(names))
    _write(format_program(program), options.o)
    _tell(imported, chosen, path)
    return AGREE


def _format(words: list[str], text: str) -> Import:
    if len(words) == 2:
        if words[0] not in IMPORTS:
            raise UsageError(f'no format "{words[0]}"; formats are {", ".join(IMPORTS)}')
        return IMPORTS[words[0]]
    found = detect(text)
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise UsageError(
            f"{words[0]} looks like {names} of the formats {', '.join(IMPORTS)};"
            f" say which: ext4diff import FORMAT {words[0]}"
        )
    return found[0]


def _name(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem) or "imported"


def _write(text: str, target: Path | None) -> None:
    if target is None:
        sys.stdout.write(text)
        return
    try:
        write_whole(target, text)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error


def _tell(imported: Imported, chosen: Import, path: Path) -> None:
    remarks = [(remark.line, "left out", remark) for remark in imported.left_out]
    remarks += [(remark.line, "changed", remark) for remark in imported.changed]
    for line, verb, remark in sorted(remarks, key=lambda each: each[0]):
        print(f"{path}:{line}: {verb}: {remark.what}: {remark.why}", file=sys.stderr)
    first, *rest = imported.summary()
    print(f"{chosen.name}: {first}", *rest, sep="\n", file=sys.stderr)
