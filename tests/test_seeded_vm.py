"""Seeded bugs in real kernels: each is built, and the program that its row names catches it.

Needs what building a kernel needs, and Coccinelle. `tox -e seeded` runs them all, which takes
the time of one whole build and then about half a minute of processor time for each bug.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vm.kernels import tools
from vm.kernels.seeded import Bug, bugs, find_bug
from workloads.files import CATALOGUE

BASE = "debian-source:7.3"
SOUND = sorted({(bug.program, bug.config) for bug in bugs()})


def ext4diff(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=7200, check=False)


def run(kernel: str, program: str, config: str, results: Path) -> subprocess.CompletedProcess[str]:
    return ext4diff(
        "run", str(CATALOGUE / f"{program}.ops"), "--on", config, "--kernel", kernel,
        "--accel", "tcg", "--results", str(results),
    )  # fmt: skip


def check(bug: Bug, results: Path) -> None:
    """`bug` is caught by its program, as its row says."""
    done = run(f"bug:{bug.name} on {BASE}", bug.program, bug.config, results)
    assert done.returncode == 1, done.stdout + done.stderr
    told = re.search(r"(?: differ at .*?: |the kernel complains: )(.*)", done.stdout)
    assert told is not None, done.stdout
    assert told[1] == bug.shows, done.stdout


@pytest.mark.vm
@pytest.mark.slow
def test_one_bug_is_built_and_caught(tmp_path: Path) -> None:
    if tools.missing_packages() or shutil.which("spatch") is None:
        pytest.skip(f"building needs {' '.join([*tools.missing_packages(), 'coccinelle'])}")
    check(find_bug("punch-one-block-more"), tmp_path)


@pytest.mark.seeded
@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.name)
def test_the_catalogue_catches(bug: Bug, tmp_path: Path) -> None:
    check(bug, tmp_path)


@pytest.mark.seeded
def test_without_a_bug_the_same_programs_agree(tmp_path: Path) -> None:
    for program, config in SOUND:
        done = run(BASE, program, config, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
