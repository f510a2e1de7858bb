"""`ext4diff coverage`: what a suite reaches, and what it does not."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.coverage.partitions import possible
from harness.coverage.probe import lines_of
from harness.coverage.reached import Coverage
from harness.errors import AGREE, UsageError
from harness.generated import batches_of
from harness.programs import read_program
from harness.recordings.recheck import jobs_of
from harness.recordings.recording import SUFFIX as RECORDING
from harness.trace import Placement, placement_of
from vm import mkfs
from vm.host_tools import ensure_host_tools
from workloads.files import catalogue
from workloads.generate import KINDS
from workloads.ops import BY_WORD
from workloads.syntax import SUFFIX, workloads
from workloads.workload import Workload

__all__ = ["add", "run"]

HELP = "show what a suite reaches of the model's rules, operations and classes of arguments"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH",
        help="workload files, folders of them, recordings (FILE.jsonl.xz); without any, and"
        " without generated programs, the catalogue",
    )  # fmt: skip
    for kind in KINDS:
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="SEED:COUNT",
            help=f"so many {kind} programs of this seed",
        )  # fmt: skip
    parser.add_argument(
        "--exhaustive", action="append", default=[], metavar="FIRST:END",
        help="exhaustive programs by number, on each default configuration",
    )  # fmt: skip
    parser.add_argument(
        "--on", action="append", default=[], metavar="CONFIG",
        help="make generated programs for this configuration",
    )  # fmt: skip
    parser.add_argument("--lines", action="store_true", help="name the model's lines never run")
    parser.add_argument("--pairs", action="store_true", help="name the pairs never tried")
    parser.add_argument("--json", action="store_true", help="everything, with counts")


def run(options: argparse.Namespace) -> int:
    """Run the model on the suite and tell."""
    ensure_host_tools()
    coverage = Coverage(mkfs.geometry_of)
    for workload, placement in _suite(options):
        coverage.add(workload, placement)
    if options.json:
        print(json.dumps(_all(coverage), indent=1))
    else:
        print("\n".join(_page(coverage, options)))
    return AGREE


# --- the suite ------------------------------------------------------------------------------


def _suite(options: argparse.Namespace) -> Iterator[tuple[Workload, Placement | None]]:
    batches = batches_of(options.on, vars(options))
    if not options.paths and not batches:
        for program in catalogue():
            yield from ((workload, None) for workload in workloads(program))
    for path in options.paths:
        yield from _of_path(path)
    for batch in batches:
        for _, program in batch.programs():
            yield from ((workload, None) for workload in workloads(program))


def _of_path(path: Path) -> Iterator[tuple[Workload, Placement | None]]:
    if path.name.endswith(RECORDING):
        for job in jobs_of(path):
            trace = job.case().trace
            yield trace.workload, placement_of(trace)
        return
    files = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"{path} holds no workload files (*{SUFFIX})")
    for file in files:
        yield from ((workload, None) for workload in workloads(read_program(file)))


# --- the page -------------------------------------------------------------------------------


def _page(coverage: Coverage, options: argparse.Namespace) -> list[str]:
    rules = coverage.of_rules()
    gaps = [rule for rule in rules if not rule.reached]
    lines = [
        f"{coverage.workloads} workloads, {coverage.steps} operations; the model only",
        "",
        f"rules of docs/semantics.md: {len(rules) - len(gaps)} of {len(rules)} reached",
        *(f"  {'never' if rule.first is None else 'in part'}: {rule.name}: not reached: "
          f"{', '.join(rule.missing)}" for rule in gaps),
        *_lines(coverage, named=options.lines),
    ]  # fmt: skip
    never = [word for word in BY_WORD if word not in coverage.operations]
    lines.append(f"operations: {len(BY_WORD) - len(never)} of {len(BY_WORD)}{_never(never)}")
    lines += _classes(coverage)
    lines += _pairs(coverage, named=options.pairs)
    lines += [f"refused by the model {count} times: {why}" for why, count in
              coverage.refused.most_common()]  # fmt: skip
    return lines


def _never(names: list[str]) -> str:
    return f"; never: {', '.join(names)}" if names else ""


def _lines(coverage: Coverage, *, named: bool) -> Iterator[str]:
    all_lines = lines_of()
    ran = {
        module: {line for name, line in coverage.probe.lines if name == module}
        for module in all_lines
    }
    total = sum(map(len, all_lines.values()))
    reached = sum(len(lines & ran[module]) for module, lines in all_lines.items())
    yield f"lines of the model's functions: {reached} of {total} ({100 * reached // total} %)"
    for module, lines in all_lines.items() if named else ():
        left = sorted(lines - ran[module])
        if left:
            yield f"  model/{module}.py: {', '.join(map(str, left))}"


def _gaps(coverage: Coverage) -> Iterator[tuple[str, str, list[str], int]]:
    """Operation, argument or `result`, classes never seen, and how many there are."""
    for word in BY_WORD:
        known = possible(word)
        for argument, names in known.arguments.items():
            gaps = [name for name in names if (word, argument, name) not in coverage.arguments]
            yield word, argument, gaps, len(names)
        gaps = [name for name in known.results if (word, name) not in coverage.results]
        yield word, "result", gaps, len(known.results)


def _classes(coverage: Coverage) -> list[str]:
    rows = list(_gaps(coverage))
    lines = []
    for what, chosen in (("arguments", False), ("results", True)):
        mine = [row for row in rows if (row[1] == "result") == chosen]
        total = sum(row[3] for row in mine)
        missing = sum(len(row[2]) for row in mine)
        lines.append(f"classes of {what}: {total - missing} of {total}")
        for word, argument, gaps, _ in mine:
            if gaps and word in coverage.operations:
                lines.append(f"  {word} {argument}: never {', '.join(_joined(gaps))}")
    return lines


def _joined(names: list[str]) -> Iterator[str]:
    """`names`, adjacent powers of two as one range."""
    at = 0
    while at < len(names):
        end = at + 1
        while end < len(names) and _power(names[end]) == _power(names[at]) + end - at > 0:
            end += 1
        yield names[at] if end - at < 3 else f"{names[at]} to {names[end - 1]}"
        at = end if end - at >= 3 else at + 1


def _power(name: str) -> int:
    """K of `2^K`; another class is near none."""
    return int(name[2:]) if name.startswith("2^") else -1000


def _pairs(coverage: Coverage, *, named: bool) -> Iterator[str]:
    words = list(BY_WORD)
    tried = sum(pair[0] in BY_WORD and pair[1] in BY_WORD for pair in coverage.pairs)
    yield f"pairs of operations, one after the other: {tried} of {len(words) ** 2}"
    for first in words if named else ():
        gaps = [second for second in words if (first, second) not in coverage.pairs]
        if gaps:
            yield f"  {first}: never before {', '.join(gaps)}"


def _all(coverage: Coverage) -> dict[str, Any]:
    """Everything with counts, for programs."""
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for (word, argument, name), count in sorted(coverage.arguments.items()):
        nested.setdefault(word, {}).setdefault(argument, {})[name] = count
    for (word, name), count in sorted(coverage.results.items()):
        nested.setdefault(word, {}).setdefault("result", {})[name] = count
    never: dict[str, dict[str, list[str]]] = {}
    for word, argument, gaps, _ in _gaps(coverage):
        if gaps:
            never.setdefault(word, {})[argument] = gaps
    modules = lines_of()
    return {
        "workloads": coverage.workloads,
        "steps": coverage.steps,
        "rules": [
            {"rule": rule.name, "reached": rule.reached, "workloads": rule.programs,
             "missing": list(rule.missing), "first": rule.first}
            for rule in coverage.of_rules()
        ],
        "strings": dict(Counter(coverage.rules).most_common()),
        "lines": {
            module: sorted(lines - {line for name, line in coverage.probe.lines if name == module})
            for module, lines in modules.items()
        },
        "operations": {word: coverage.operations[word] for word in BY_WORD},
        "classes": nested,
        "never": never,
        "pairs": {f"{first} {second}": count
                  for (first, second), count in sorted(coverage.pairs.items())},
        "refused": dict(coverage.refused),
    }  # fmt: skip
