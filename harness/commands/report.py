"""`ext4diff report`: what the nights in a store say, as a page, for CI, or on the terminal."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from harness.extras import require

__all__ = ["add", "run"]

HELP = "report on stored results: HTML, JUnit, KTAP, Markdown, frames; merge stores"
_PACKAGES = ("pandas", "pyarrow", "jinja2")


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "stores", nargs="+", type=Path, metavar="STORE",
        help="a campaign's store, or the results of `ext4diff differential` (their folder);"
        " several are reported as one",
    )  # fmt: skip
    for names, what in (
        (("-o", "--html"), "one HTML page that needs no network"),
        (("--junit",), "JUnit XML, a test case for each program of the last night"),
        (("--ktap",), "KTAP, the same"),
        (("--markdown",), "a short summary for CI ($GITHUB_STEP_SUMMARY: it is added to)"),
    ):
        parser.add_argument(*names, type=Path, metavar="FILE", help=f"write {what}")
    parser.add_argument("--parquet", type=Path, metavar="DIR", help="write the frames as Parquet")
    parser.add_argument("--csv", type=Path, metavar="DIR", help="write the frames as CSV")
    parser.add_argument(
        "--merge", type=Path, metavar="STORE", help="write a new store with all that these hold"
    )
    parser.add_argument(
        "--fail-on", choices=("nothing", "new", "mismatch"), default="nothing",
        help="exit with status 1 if the last night has a new finding, or any (default: nothing);"
        " with 3 if it compared nothing",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write what is asked for, and a summary to the terminal."""
    require("a report", _PACKAGES)
    # pandas takes a second to import: only now
    return int(importlib.import_module("harness.reporting").report(options))
