"""Real kernels, built from Debian's source and booted: an hour the first time, then minutes.

The patches are made here by scripted edits of the unpacked source, so that no text of the
kernel is kept. Needs the tools that `ext4diff doctor` lists, the network for the first
time, and 3 GB in the cache.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vm.kernels import tools
from vm.kernels.build import build, source_of
from vm.kernels.git import Git
from vm.kernels.sources import Source
from vm.kernels.spec import DebianSource, parse_spec

pytestmark = [pytest.mark.slow, pytest.mark.vm]

VERSION = "7.3"
MARK = "ext4diff was here"
BODY = re.compile(r"(?m)^static int __ext4_fill_super\((?:[^{]|\n)*?\)\n\{\n")


@pytest.fixture(scope="module")
def source() -> Source:
    if tools.missing_packages():
        pytest.skip(f"building needs {' '.join(tools.missing_packages())}")
    return source_of(DebianSource(VERSION))


Series = Callable[[Callable[[str], str]], str]


@pytest.fixture
def series(source: Source, tmp_path: Path) -> Series:
    """Makes a series of one patch, which edits fs/ext4/super.c, and gives its specification."""

    def make(edit: Callable[[str], str], before: Callable[[str], str] = str) -> str:
        git = source.workshop.repository.git(GIT_INDEX_FILE=str(tmp_path / "index"))
        original = git.output("show", f"{source.commit}:fs/ext4/super.c") + "\n"
        base = _commit(git, source.commit, before(original), "not in the tree")
        commit = _commit(git, base, edit(before(original)), "ext4: a change for a test")
        mbox = tmp_path / "series.mbox"
        mbox.write_text(git.output("format-patch", "--stdout", "-1", commit) + "\n")
        return f"series:{mbox} on debian-source:{VERSION}"

    return make


def _commit(git: Git, parent: str, text: str, subject: str) -> str:
    """`parent` with another fs/ext4/super.c."""
    blob = git.output("hash-object", "-w", "--stdin", stdin=text.encode())
    git.output("read-tree", parent)
    git.output("update-index", "--cacheinfo", f"100644,{blob},fs/ext4/super.c")
    return git.output("commit-tree", git.output("write-tree"), "-p", parent, "-m", subject)


def at_mount(statement: str) -> Callable[[str], str]:
    """An edit that executes `statement` whenever ext4 is mounted."""

    def edit(text: str) -> str:
        assert BODY.search(text)
        return BODY.sub(lambda match: f"{match[0]}\t{statement}\n", text, count=1)

    return edit


def ext4diff(*words: str, seconds: float = 7200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip


def run_one(kernel: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    workload = "pwrite a 0 8k; fsync a"
    return ext4diff(
        "run", workload, "--kernel", kernel, "--accel", "tcg", "--results", str(tmp_path / "r")
    )  # fmt: skip


def test_debians_source_builds_completely_and_agrees_with_the_model(
    source: Source, tmp_path: Path
) -> None:
    built = ext4diff("kernel", "build", f"debian-source:{VERSION}")
    assert built.returncode == 0, built.stderr
    assert "built without" not in built.stderr  # every option came out as asked
    began = time.monotonic()
    again = ext4diff("kernel", "build", f"debian-source:{VERSION}")
    assert again.returncode == 0 and "compiling" not in again.stderr
    assert time.monotonic() - began < 20
    done = run_one(f"debian-source:{VERSION}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"(debian-source:{VERSION})" in done.stdout


def test_a_series_that_applies_is_in_the_kernel(series: Series, tmp_path: Path) -> None:
    spec = series(at_mount(f'pr_info("{MARK}\\n");'))
    done = run_one(spec, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    kernel = build(parse_spec(spec))  # type: ignore[arg-type]
    assert MARK.encode() in kernel.image.with_name("vmlinux").read_bytes()
    log = (kernel.path / "build.log").read_text()
    assert "  CC      fs/ext4/super.o" in log and "fs/ext4/inode.o" not in log


def test_a_series_that_conflicts_is_told_with_file_and_hunk(series: Series, source: Source) -> None:
    spec = series(at_mount(f'pr_info("{MARK}\\n");'), at_mount("int in_the_way = 1;"))
    done = ext4diff("kernel", "build", spec)
    assert done.returncode == 2
    assert "'[PATCH] ext4: a change for a test' does not apply on debian-source:" in done.stderr
    assert re.search(r"fs/ext4/super\.c, hunk 1 \(@@ -\d+", done.stderr)
    assert not (source.workshop.path / "scratch").exists()


def test_a_series_that_does_not_compile_is_told_with_the_compilers_error(
    series: Series,
) -> None:
    done = ext4diff("kernel", "build", series(at_mount("no_such_function_of_ext4(sb);")))
    assert done.returncode == 2
    assert re.search(r"\n  fs/ext4/super\.c:\d+:\d+: error: implicit declaration", done.stderr)
    assert len(done.stderr.splitlines()) < 12


def test_a_series_that_panics_at_mount_is_a_finding(series: Series, tmp_path: Path) -> None:
    done = run_one(series(at_mount(f'panic("{MARK}");')), tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"Kernel panic - not syncing: {MARK}" in done.stdout
