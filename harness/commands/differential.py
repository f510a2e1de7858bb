"""`ext4diff differential`: the main job, the catalogue through the engine."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from harness.errors import MACHINERY, USAGE
from vm import cache

__all__ = ["add", "main_job", "run"]

HELP = "run the catalogue (or PATHs) on the model and a real kernel, compared after every operation"

_OF_PYTEST = {pytest.ExitCode.INTERNAL_ERROR: MACHINERY, pytest.ExitCode.USAGE_ERROR: USAGE}
"""Statuses that pytest may leave before our reporter has its say (2 and 130 are ours)."""


def add(parser: argparse.ArgumentParser) -> None:
    """All words after the command are pytest's, with the options of `harness.plugin`."""
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="OPTION|PATH")


def run(options: argparse.Namespace) -> int:
    """Run the engine."""
    return main_job(options.words)


def main_job(words: list[str]) -> int:
    """Run pytest on `words`; without a path, on the catalogue. Returns our exit status."""
    own = ["-p", "harness.plugin", "--catalogue", "-c", os.devnull, "--rootdir", "."]
    own += ["-o", f"cache_dir={cache.cache_root() / 'pytest'}"]
    status = pytest.main([*own, *words])
    sys.stdout.flush()
    return int(_OF_PYTEST.get(status, status)) if isinstance(status, pytest.ExitCode) else status
