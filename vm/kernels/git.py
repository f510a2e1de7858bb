"""Running git: on repositories of our own in the cache, and reading those of the user.

A repository of ours borrows the objects of the user's (`objects/info/alternates`), so that
nothing is ever written into the user's: no object, no reference, no worktree.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import MachineryError
from vm.host_tools import find_program

__all__ = ["Git", "Repository", "clean_environment", "reason_of", "settings"]

_WHO = "ext4diff"
_WHEN = "2000-01-01T00:00:00+0000"
# A commit's name then depends on nothing but its content, and the same series gives the
# same commit on every machine.
_IDENTITY = {
    "GIT_AUTHOR_NAME": _WHO, "GIT_AUTHOR_EMAIL": _WHO, "GIT_AUTHOR_DATE": _WHEN,
    "GIT_COMMITTER_NAME": _WHO, "GIT_COMMITTER_EMAIL": _WHO, "GIT_COMMITTER_DATE": _WHEN,
}  # fmt: skip
_OWN_CONFIG = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def clean_environment() -> dict[str, str]:
    """The environment without what a git hook or a shell may have set for git."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def settings(**values: str) -> dict[str, str]:
    """Variables of the environment that give git these settings (git-config(1))."""
    pairs = enumerate(values.items())
    found = {"GIT_CONFIG_COUNT": str(len(values))}
    for number, (name, value) in pairs:
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


@dataclass(frozen=True)
class Git:
    """git in `directory` (or on the repository `git_dir`), with more variables in `environment`."""

    directory: Path
    environment: tuple[tuple[str, str], ...] = ()

    def run(
        self, *arguments: str, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it, whatever its status."""
        command = [find_program("git"), *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env={**clean_environment(), **dict(self.environment)},
            input=b"" if stdin is None else stdin, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0 and b"No space left on device" in done.stderr:
            raise cache.full_error(cache.cache_root())
        return done

    def output(self, *arguments: str, stdin: bytes | None = None) -> str:
        """What it prints, stripped; `MachineryError` with git's reason if it fails."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise MachineryError(f"git {arguments[0]} failed: {reason_of(done)}")
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, revision: str) -> str:
        """The commit that `revision` names, or ""."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options",
                        f"{revision}^{{commit}}")  # fmt: skip
        return done.stdout.decode().strip() if done.returncode == 0 else ""


def reason_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """The first thing that git has to say about its failure."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    words = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    return words[0].removeprefix("fatal: ").removeprefix("error: ") if words else "without a reason"


@dataclass(frozen=True)
class Repository:
    """A bare repository in the cache, at `path`."""

    path: Path

    @classmethod
    def create(cls, path: Path, borrow_from: Path | None = None) -> Repository:
        """A new one; it borrows from the objects directory `borrow_from` for ever."""
        path.mkdir()
        repository = cls(path)
        repository.git().output("init", "--quiet", "--bare", "--initial-branch=none", ".")
        # Objects without a reference are what a built kernel came from: never collect them.
        for name, value in (
            ("gc.auto", "0"), ("maintenance.auto", "false"), ("core.hooksPath", os.devnull),
            ("commit.gpgSign", "false"), ("core.compression", "1"),
        ):  # fmt: skip
            repository.git().output("config", name, value)
        if borrow_from is not None:
            (path / "objects/info/alternates").write_text(f"{borrow_from}\n")
        return repository

    def git(self, directory: Path | None = None, **variables: str) -> Git:
        """git on this repository, in `directory` (its own if not given)."""
        environment = {**_IDENTITY, **_OWN_CONFIG, "GIT_DIR": str(self.path), **variables}
        return Git(directory or self.path, tuple(environment.items()))

    def tree_of(self, commit: str) -> str:
        """The name of a commit's tree."""
        return self.git().output("rev-parse", f"{commit}^{{tree}}")

    def has(self, commit: str, path: str) -> bool:
        """Whether a commit's tree has `path`."""
        return self.git().run("cat-file", "-e", f"{commit}:{path}").returncode == 0

    def commit_tree(self, tree: str, message: str, parent: str = "") -> str:
        """A commit of `tree`."""
        parents = ("-p", parent) if parent else ()
        return self.git().output("commit-tree", tree, *parents, "-m", message)
