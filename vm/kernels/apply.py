"""Putting a patch series on a commit: `git am` in a scratch worktree of a repository of ours.

The worktree holds only the files that the series touches (a sparse checkout), so it is
there in a second and gone afterwards, whatever happens. The checkout that kernels are
built from is not touched before the whole series has been applied.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm import cache
from vm.errors import PatchError
from vm.kernels.git import Git, reason_of, settings
from vm.kernels.series import Patch, Series
from vm.kernels.sources import Source, Workshop

__all__ = ["apply_series"]

_FAILED = re.compile(r"^error: patch failed: (.+):(\d+)$", re.M)
_MISSING = re.compile(r"^error: (.+): (does not exist in index|already exists in .*)$", re.M)
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@.*$")


def apply_series(base: Source, series: Series, label: str) -> Source:
    """`base` with `series` on top; from the cache if it was applied before.

    Raises `PatchError` with the patch, file and hunk;
    nothing is left of the attempt then.
    """
    shop = base.workshop
    patches = tuple(cache.key_of(patch.text) for patch in series.patches)
    reference = f"refs/applied/{cache.key_of(base.commit, *patches)}"
    own = shop.repository.git()
    commit = own.commit(reference)
    if not commit:
        with cache.locked(shop.path / "apply.lock"), _scratch(shop, base.commit, series) as git:
            _am(git, base, series)
            commit = git.output("rev-parse", "HEAD")
        own.output("update-ref", reference, commit)
    subjects = tuple(patch.subject for patch in series.patches)
    return Source(shop, commit, label, base.base, subjects, patches)


@contextmanager
def _scratch(shop: Workshop, commit: str, series: Series) -> Iterator[Git]:
    """A worktree at `commit` with the files that `series` touches; removed at the end."""
    folder = shop.path / "scratch"
    repository = shop.repository
    _remove(shop, folder)  # left by a killed process
    paths = sorted({path for patch in series.patches for path in patch.touched})
    try:
        repository.git().output(
            "worktree", "add", "--quiet", "--no-checkout", "--detach", str(folder), commit
        )
        own = Path((folder / ".git").read_text().removeprefix("gitdir:").strip())
        sparse = settings(**{"core.sparseCheckout": "true"})
        git = repository.git(folder, GIT_DIR=str(own), GIT_WORK_TREE=str(folder), **sparse)
        patterns = "".join(f"/{_escaped(path)}\n" for path in paths)
        (own / "info").mkdir(exist_ok=True)
        (own / "info/sparse-checkout").write_text(patterns)
        git.output("read-tree", "-m", "-u", "HEAD")
        yield git
    finally:
        _remove(shop, folder)


def _escaped(path: str) -> str:
    """`path` as a pattern that matches nothing else."""
    return re.sub(r"([\\*?\[\]!# ])", r"\\\1", path)


def _remove(shop: Workshop, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shop.repository.git().output("worktree", "prune")


def _am(git: Git, base: Source, series: Series) -> None:
    """Apply mail by mail, so that the one that fails is known."""
    for patch in series.patches:
        done = git.run("am", "--quiet", "--keep-cr", "--no-gpg-sign", "-", stdin=patch.text)
        if done.returncode == 0:
            continue
        said = (done.stderr + done.stdout).decode("utf-8", "replace")
        git.run("am", "--abort")
        where = _place(said, patch) or reason_of(done)
        problem = f"the patch {patch.subject!r} does not apply on {base.label}: {where}"
        raise PatchError(problem + _hint(base, series))


def _place(said: str, patch: Patch) -> str:
    """Which file and hunk, of what git said."""
    failed = _FAILED.search(said)
    if failed is not None:
        path, line = failed[1], int(failed[2])
        number, header = _hunk(patch.diff, path, line)
        return f"{path}, hunk {number} ({header})" if number else f"{path}, line {line}"
    missing = _MISSING.search(said)
    if missing is None:
        return ""
    if missing[2].startswith("already"):
        return f"{missing[1]} is there already"
    return f"{missing[1]} does not exist there"


def _hunk(diff: str, path: str, line: int) -> tuple[int, str]:
    """Number and header of the hunk of `path` that begins at `line`; 0 if it is not found."""
    number, inside = 0, False
    for text in diff.splitlines():
        if text.startswith(("--- ", "+++ ", "diff --git ")):
            if text.startswith(("diff --git ", "--- ")):
                number = 0
            inside = inside if text.startswith("+++ /dev/null") else text.endswith(f"/{path}")
        elif inside and (match := _HUNK.match(text)):
            number += 1
            if int(match[1]) == line:
                return number, text
    return 0, ""


def _hint(base: Source, series: Series) -> str:
    if series.base and not base.commit.startswith(series.base):
        return (
            f"; the series was made for commit {series.base[:12]}: "
            f"give a tree that has it, as in 'on tree:DIR@{series.base[:12]}'"
        )
    return "; nothing was changed: choose the base that the series was made for"
