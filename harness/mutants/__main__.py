"""`python -m harness.mutants`: is every mutant of the model found out? See docs/mutants.md."""

from __future__ import annotations

import argparse
import functools
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from harness.errors import AGREE, INTERRUPTED, MISMATCH, Ext4diffError, UsageError
from harness.interrupt import interrupt_on_termination
from harness.mutants.cases import Case, Lines, Reach, cases_of, reach_of
from harness.mutants.herd import spread
from harness.mutants.hunt import FIRST, Found, hunt
from harness.mutants.listing import Mutant, chosen, mutants
from harness.mutants.notes import read_equivalent, read_shown, write_shown
from harness.mutants.told import summary, told
from harness.mutants.unit_tests import failing, tests_of
from harness.specification import specification

__all__ = ["main"]

FOLDER = Path("tests/mutants")
RECORDINGS = (Path("tests/recordings/catalogue"), Path("tests/recordings"))
TESTS = Path("tests")
WANTED = 98.0
"""Per cent of the mutants that must be found out, equivalent ones aside."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.mutants", description=__doc__)
    add = parser.add_argument
    add("recordings", nargs="*", type=Path, help="folders or files, the first are tried first")
    add("--seed", type=int, default=1, help="which mutants are chosen (default: 1)")
    add("--all", action="store_true", help="every mutant that the operators make")
    add("--only", default="", metavar="TEXT", help="only mutants whose name or rule contains it")
    add("--sample", type=int, metavar="N", help="only N of them, by the seed")
    add("--equivalent", action="store_true", help="try those that are said to be equivalent, too")
    add("--left", action="store_true", help="only those that have not been found out before")
    add("--most", type=int, metavar="N", help="try at most N cases a mutant")
    add("--no-tests", action="store_true", help="do not try the unit tests of the model")
    add("-j", "--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    add("--list", action="store_true", help="name them and their rules, and end")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run; returns the exit status: 1 if too few were found out."""
    interrupt_on_termination()
    try:
        return _run(_parser().parse_args(words))
    except Ext4diffError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    taken, shown = _taken(options), read_shown(FOLDER)
    if options.left:
        taken = [one for one in taken if one.name not in shown]
    if options.list:
        for mutant in taken:
            print(f"{mutant.name}  [{' '.join(mutant.rules)}]")
        return AGREE
    equivalent = read_equivalent(FOLDER)
    excused = [] if options.equivalent else [one for one in taken if one.name in equivalent]
    tried = [mutant for mutant in taken if mutant not in excused]
    found: dict[str, Found] = {}
    try:
        for one in _hunted(options, tried, shown):
            found[one.mutant] = one
            print(told(one, len(found), len(tried), equivalent), flush=True)
            if one.by is not None:
                shown[one.mutant] = one.by
            else:  # where it showed once it does not any more
                shown.pop(one.mutant, None)
    finally:  # what an interrupted run has found helps the next one, too
        write_shown(FOLDER, {name: by for name, by in shown.items() if name in _names()})
    for line in summary(taken, found, {one.name: equivalent[one.name] for one in excused}):
        print(line)
    caught = sum(one.by is not None for one in found.values())
    return AGREE if caught * 100 >= WANTED * len(found) else MISMATCH


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(mutant.name for mutant in mutants())


def _taken(options: argparse.Namespace) -> list[Mutant]:
    everything = list(mutants())
    taken = everything if options.all else chosen(options.seed, everything)
    text = options.only
    taken = [one for one in taken if text in one.name or any(text in rule for rule in one.rules)]
    if options.sample is not None and options.sample < len(taken):
        names = {one.name for one in random.Random(options.seed).sample(taken, options.sample)}
        taken = [one for one in taken if one.name in names]
    if not taken:
        raise UsageError(f"no mutant has {text} in its name or a rule's")
    return taken


def _hunted(
    options: argparse.Namespace, tried: Sequence[Mutant], shown: dict[str, str]
) -> Iterator[Found]:
    """The outcome of each mutant, as it comes."""
    cases = cases_of(options.recordings or [path for path in RECORDINGS if path.exists()])
    reach: dict[str, Reach] = {}
    for name, reached in reach_of(cases, options.processes):
        reach[name] = reached
        if sys.stderr.isatty():
            print(f"\rlines that each workload runs: {len(reach)} of {len(cases)}", end="")
    lines = Lines()
    tests = [] if options.no_tests else tests_of(TESTS, options.processes)

    def work(mutant: Mutant) -> bytes:
        bits, last = lines.of(mutant), shown.get(mutant.name, "")
        order = _order(mutant, cases, reach, bits, last)[: options.most]
        units = [test for test in tests if test.has(bits)]
        units.sort(key=lambda test: test.name != last)
        before = 0 if units and units[0].name == last else FIRST
        found = hunt(mutant, order, reach, functools.partial(failing, units), before)
        return msgspec.json.encode(found)

    for answer in spread(work, tried, options.processes):
        yield msgspec.json.decode(answer, type=Found)


def _order(
    mutant: Mutant,
    cases: Sequence[Case],
    reach: dict[str, Reach],
    bits: int,
    last: str,
) -> list[Case]:
    """The cases that run the mutant's lines: where it showed last, then the programs that are
    named for its rules, then each recording's in turn, the short ones first."""
    reached = [case for case in cases if reach[case.name].agrees and reach[case.name].has(bits)]
    named = {
        text for rule in specification() if rule.name in mutant.rules for text, _ in rule.workloads
    }
    seen: dict[str, int] = {}
    keys = {}
    for case in reached:
        program = case.name.partition("@")[0]
        seen[program] = seen.get(program, -1) + 1
        other = program.partition(":")[2] not in named
        keys[case.name] = (case.name != last, other, seen[program], len(case.job.line))
    return sorted(reached, key=lambda case: keys[case.name])


if __name__ == "__main__":
    sys.exit(main())
