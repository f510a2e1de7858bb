"""`ext4diff steer`: grow a corpus of programs that reach new combinations of rules."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.coverage.reached import Coverage
from harness.coverage.steering import Corpus, steer
from harness.errors import AGREE, UsageError
from vm import mkfs
from vm.host_tools import ensure_host_tools
from workloads.syntax import WorkloadSyntaxError, workloads

__all__ = ["add", "run"]

HELP = "make programs, and keep those that reach new combinations of the model's rules"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("corpus", type=Path, metavar="DIR", help="the corpus; made if missing")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--programs", type=int, default=200, metavar="N", help="how many to make (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Read the corpus, make programs, say which were kept."""
    if options.programs < 1 or options.seed < 0:
        raise UsageError("--programs is 1 or more, --seed 0 or more")
    if options.corpus.exists() and not options.corpus.is_dir():
        raise UsageError(f"{options.corpus} is no folder; a corpus is one of workload files")
    ensure_host_tools()
    coverage = Coverage(mkfs.geometry_of)
    try:
        corpus = Corpus(options.corpus)
        for program in corpus.programs:
            for workload in workloads(program):
                coverage.add(workload)
        print(f"{len(corpus.programs)} programs in {options.corpus} reach {_reach(coverage)}")
        kept = 0
        start = corpus.following(options.seed)
        for found in steer(corpus, coverage, options.seed, start, start + options.programs):
            kept += 1
            print(f"  {found.program.name}: {len(found.new)} new", flush=True)
    except WorkloadSyntaxError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{options.corpus}: {error.strerror or error}") from error
    print(f"{kept} of {options.programs} were kept; {len(corpus.programs)} programs now reach"
          f" {_reach(coverage)}")  # fmt: skip
    return AGREE


def _reach(coverage: Coverage) -> str:
    reached = sum(rule.reached for rule in coverage.of_rules())
    return f"{reached} rules, {len(coverage.seen)} combinations, {len(coverage.probe.lines)} lines"
