"""`ext4diff export`: a workload in a form that runs without ext4diff."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from harness.errors import AGREE, NotModelledError, UsageError
from harness.foretell import foretelling
from harness.programs import config_named, read_program
from harness.whole_file import write_whole
from workloads.formats.exported import Exported, NotForetoldError, said_of
from workloads.formats.registry import EXPORTS, Export
from workloads.program import Program

__all__ = ["add", "run"]

DEFAULT_STEM = "999"
"""The number of a case of xfstests whose file has no name yet."""

HELP = "write a workload as a script, a C program or a test that runs without ext4diff"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "format", choices=tuple(EXPORTS), metavar="FORMAT",
        help="; ".join(f"{each.name}: {each.what}" for each in EXPORTS.values()),
    )  # fmt: skip
    parser.add_argument("workload", type=Path, metavar="WORKLOAD", help="a workload file")
    parser.add_argument(
        "-o", type=Path, metavar="OUT",
        help="where to write it; further files stand beside it (default: standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--config", metavar="IMAGE@MOUNT", help="the configuration (default: its first one)"
    )


def run(options: argparse.Namespace) -> int:
    """Write it; what the format can't express goes to standard error too. Raises `UsageError`."""
    chosen = EXPORTS[options.format]
    program = _program(options.workload, options.config)
    exported = _exported(chosen, program, options.o)
    _write(exported, options.o)
    for line in said_of(exported.left_out, len(program.ops)):
        print(line, file=sys.stderr)
    return AGREE


def _program(path: Path, config: str | None) -> Program:
    program = read_program(path)
    if config is None:
        return program
    return msgspec.structs.replace(program, on=(config_named(config).name,))


def _exported(chosen: Export, program: Program, target: Path | None) -> Exported:
    stem = target.name if target is not None and not target.suffix else DEFAULT_STEM
    try:
        return chosen.write(program, foretelling(program.configs[0]), stem)
    except (NotModelledError, NotForetoldError) as error:
        raise UsageError(
            f"{chosen.name} needs to know what is expected, and that can't be known: {error}"
        ) from error


def _write(exported: Exported, target: Path | None) -> None:
    """The first file goes to `target` as it is called, others beside it."""
    if target is None:
        for suffix, text in exported.files.items():
            if len(exported.files) > 1:
                print(f"==> {DEFAULT_STEM}{suffix} <==")
            sys.stdout.write(text)
        return
    main = next(iter(exported.files))
    for suffix, text in exported.files.items():
        path = target if suffix == main else target.with_suffix(suffix)
        try:
            write_whole(path, text)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
