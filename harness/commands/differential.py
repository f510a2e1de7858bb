"""`ext4diff differential`: the main job, the catalogue through the engine."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from harness.errors import AGREE, MACHINERY, USAGE
from vm import cache

__all__ = ["add", "main_job"]

HELP = "run the catalogue (or PATHs) on the model and a real kernel, compared after every operation"

USAGE_TEXT = """\
usage: ext4diff differential [OPTION ...] [PATH ...]

Run workload files (default: the whole catalogue) on two subjects, and compare what they
saw after every operation.

  --kernel SPEC           a bzImage, vmlinux or built tree; debian:SUITE, tree:DIR[@REV] and
                          others, see docs/kernels.md (default: the distribution's newest,
                          fetched once into the cache)
  --accel auto|kvm|tcg    how QEMU runs the guest (default: KVM if a probe boot succeeds)
  --mirror URL            Debian mirror for kernel and user space (default: the value of
                          EXT4DIFF_DEBIAN_MIRROR, else apt's)
  --refresh               look for newer packages than those in the cache
  --always-boot           boot every guest, instead of going on from the snapshot of one that
                          has booted
  --against WHAT          what the kernel is held against: model (default), path:buffer_head
                          or path:iomap (the kernel under test takes the other path), or
                          another kernel, as --kernel
  --strict-model          follow no known issue: where one shows, that is a mismatch
  --on CONFIG             only this configuration, as in 4k@delalloc or 'bigalloc*'
  --short                 each program on its first configuration only
  --random SEED:COUNT     generated programs, without PATHs instead of the catalogue (also
                          SEED:FIRST:END); --swarm SEED:COUNT likewise
  --exhaustive FIRST:END  exhaustive programs, on each default configuration (all: those of
                          one and two operations)
  --observe end           observe each program only at its end (default: steps); faster, and
                          compares less; one that mismatches runs again, everything observed
  --memory MIB            of a guest: 384, the default, or more
  --program-time S        a program that takes longer hangs, which is a finding
  --record FILE.jsonl.xz  keep what the kernel did, for check-recording
  --results DIR           where to keep results (default: ext4diff-results/TIME)

The engine is pytest, and its options work as ever:
  -k EXPRESSION  select by name    --lf  only what failed last time    -n 2  two guests
  -x             stop at the first mismatch    --junitxml FILE    -v  a line per item"""

_OF_PYTEST = {pytest.ExitCode.INTERNAL_ERROR: MACHINERY, pytest.ExitCode.USAGE_ERROR: USAGE}
"""Statuses that pytest may leave before our reporter has its say (2 and 130 are ours)."""


def add(_parser: argparse.ArgumentParser) -> None:
    """Nothing: all words after the command are pytest's, see `main_job`."""


def main_job(words: list[str]) -> int:
    """Run pytest on `words`; without a path, on the catalogue. Returns our exit status."""
    if words[:1] in (["-h"], ["--help"]):
        print(USAGE_TEXT)
        return AGREE
    # Without tmpdir, xdist leaves no directory in /tmp; items have no fixtures.
    words = ["--strict-model" if word == "--strict" else word for word in words]  # not pytest's
    own = ["-p", "harness.plugin", "-p", "no:tmpdir"]
    own += ["--catalogue", "-c", os.devnull, "--rootdir", "."]
    own += ["-o", f"cache_dir={cache.cache_root() / 'pytest'}"]
    status = pytest.main([*own, *words])
    sys.stdout.flush()
    return int(_OF_PYTEST.get(status, status)) if isinstance(status, pytest.ExitCode) else status
