"""`ext4diff generate`: look at generated programs, or write them as workload files."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from harness.errors import AGREE, MACHINERY, Ext4diffError, UsageError
from harness.generated import EXHAUSTIVE, Batch, chosen_configs, space
from harness.whole_file import write_whole
from reports.words import times
from workloads import generate
from workloads.generate.plan import CONFIGS
from workloads.program import DEFAULT_CONFIGS, Program
from workloads.syntax import SUFFIX, format_program

__all__ = ["add", "run"]

HELP = "print generated programs (random, swarm, exhaustive), or count them"
LONGEST = 1000
"""Operations that a program may have."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("kind", choices=(*generate.KINDS, EXHAUSTIVE))
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--index", metavar="I[:J]", help="program I, or programs I to J-1 (default: 0)"
    )
    parser.add_argument(
        "--on", "--config", action="append", default=[], metavar="CONFIG",
        help="make them for this configuration (image@mount; * and ? match); may be repeated."
        " Without it the seed chooses; exhaustive programs are made for the default ones",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=int, default=generate.LENGTH, metavar="N",
        help="operations of a random or swarm program (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="a file for each program")
    parser.add_argument("--count", action="store_true", help="count instead of printing")


def run(options: argparse.Namespace) -> int:
    """Print, write or count."""
    if options.kind == EXHAUSTIVE and options.count and options.index is None:
        print("\n".join(_spaces(options)))
        return AGREE
    programs = [program for _, program in _batch(options).programs()]
    if options.count:
        print("\n".join(_counts(programs)))
    elif options.output:
        _write(programs, options.output)
    else:
        sys.stdout.write("\n".join(_commented(program) for program in programs))
    return AGREE


def _batch(options: argparse.Namespace) -> Batch:
    if not 1 <= options.length <= LONGEST:
        raise UsageError(f"--length {options.length}: a program has 1 to {LONGEST} operations")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: a seed is 0 or more")
    first, colon, end = (options.index or "0").partition(":")
    if not first.isdecimal() or (colon and not end.isdecimal()):
        raise UsageError(f"--index {options.index}: write a number, or FIRST:END as in 0:10")
    if colon and int(end) <= int(first):
        raise UsageError(f"--index {options.index}: the end has to be beyond the first")
    text = f"{first}:{end if colon else int(first) + 1}"
    if options.kind == EXHAUSTIVE:
        return Batch.exhaustive(text, chosen_configs(options.on, DEFAULT_CONFIGS))
    configs = chosen_configs(options.on, tuple(CONFIGS))
    batch = Batch.seeded(options.kind, f"{options.seed}:{text}", configs)
    return Batch(batch.kind, batch.seed, batch.start, batch.stop, configs, options.length)


def _commented(program: Program) -> str:
    return f"# {program.name}\n{format_program(program)}"


def _spaces(options: argparse.Namespace) -> list[str]:
    """How many exhaustive programs there are."""
    lines = []
    for name in chosen_configs(options.on, DEFAULT_CONFIGS) or DEFAULT_CONFIGS:
        counts = space(name).counts
        words = ", ".join(f"{count} of {number}" for number, count in enumerate(counts, start=1))
        lines.append(f"{name}: {sum(counts)} programs: {words} operations")
    return lines


def _counts(programs: list[Program]) -> list[str]:
    """Programs by configuration, operations by word."""
    configs = Counter(name for program in programs for name in program.on)
    words = Counter(op.WORD for program in programs for op in program.ops)
    total = sum(words.values())
    return [
        f"{len(programs)} programs, {total} operations",
        *(f"  {count:>7}  {name}" for name, count in configs.most_common()),
        *(f"  {count:>7}  {word}" for word, count in words.most_common()),
    ]


def _write(programs: list[Program], folder: Path) -> None:
    """A workload file for each program; where one program has several configurations, its
    name is followed by them."""
    several = len({program.name for program in programs}) < len(programs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for program in programs:
            name = f"{program.name}@{program.on[0]}" if several else program.name
            write_whole(folder / f"{name}{SUFFIX}", format_program(program))
    except OSError as error:
        raise _CannotWrite(f"cannot write to {folder}: {error.strerror or error}") from error
    print(f"{times(len(programs), 'program')} in {folder}")


class _CannotWrite(Ext4diffError):
    exit_status = MACHINERY
