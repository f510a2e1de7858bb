"""Where the source of a kernel comes from: the user's tree, or a package.

Each source has a directory `sources/NAME` in the cache:

    git/     a bare repository; of a user's tree it only borrows the objects
    tree/    the checkout that kernels are built from; git touches only what changed
    out-*/   what make built, one directory per flavour
    lock     held by the one process that checks out or builds
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import KernelError
from vm.kernels.git import Git, Repository, reason_of, settings
from vm.kernels.progress import progress
from vm.kernels.spec import TreeSpec

__all__ = ["KIND", "Source", "Workshop", "require_kernel", "tree_source"]

KIND = "sources"
"""The kind of cache entry."""


@dataclass(frozen=True)
class Workshop:
    """The cache's directory for one source."""

    path: Path

    @property
    def repository(self) -> Repository:
        """Its bare repository."""
        return Repository(self.path / "git")

    @property
    def tree(self) -> Path:
        """Its checkout."""
        return self.path / "tree"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold it alone; waits for whoever builds from it, and says so."""
        with cache.disk_errors(self.path):
            lock = (self.path / "lock").open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another build from {self.path.name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def check_out(self, commit: str) -> None:
        """Make the checkout that of `commit`, writing only the files that differ.

        So make compiles only what changed. To be called with the lock held.
        """
        self.tree.mkdir(exist_ok=True)
        index = self.path / "index"
        index.with_name("index.lock").unlink(missing_ok=True)  # of a killed process
        unfinished = self.path / "checkout-unfinished"
        git = self.repository.git(
            self.tree, GIT_WORK_TREE=str(self.tree), GIT_INDEX_FILE=str(index)
        )
        interrupted = unfinished.exists()
        unfinished.touch()
        git.output("read-tree", "--reset", "-u", commit)
        if interrupted:
            git.output("clean", "-ffdqx")
        unfinished.unlink()


@dataclass(frozen=True)
class Source:
    """A commit to build, and what to say of it.

    `base` is what a series went on, or the commit itself; `series` has the subjects of the
    patches, `patches` what tells them apart.
    """

    workshop: Workshop
    commit: str
    label: str
    base: str
    series: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()

    @property
    def tree(self) -> str:
        """git's name of the whole content."""
        return self.workshop.repository.tree_of(self.commit)


# --- the user's tree --------------------------------------------------------------------


def _user_git(directory: Path) -> tuple[Git, Path] | None:
    """git in the user's tree, with the directory of its objects; None if it has none."""
    git = Git(directory)
    done = git.run("rev-parse", "--show-toplevel")
    if done.returncode != 0:
        if b"not a git repository" in done.stderr:
            return None
        raise KernelError(f"git can't read {directory}: {reason_of(done)}")
    top = Path(done.stdout.decode().rstrip("\n"))
    if top.resolve() != directory.resolve():  # an unpacked tree inside another repository
        return None
    objects = git.output("rev-parse", "--path-format=absolute", "--git-path", "objects")
    return git, Path(objects)


def _workshop(directory: Path, objects: Path | None) -> Workshop:
    """The workshop of the user's repository; all its worktrees share one."""
    where = (objects or directory).resolve()
    digest = hashlib.sha256(str(where).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.+-]", "_", directory.resolve().name)[:40] or "tree"

    def fill(into: Path) -> None:
        Repository.create(into / "git", where if objects else None)

    return Workshop(cache.entry(KIND, f"{name}-{digest}", fill))


def _snapshot_index(shop: Workshop) -> Path:
    index = shop.path / "snapshot-index"
    index.with_name("snapshot-index.lock").unlink(missing_ok=True)  # of a killed process
    return index


def _snapshot_of_repository(shop: Workshop, git: Git, objects: Path) -> str:
    """git's name for the tree as it is now, uncommitted and new files included.

    A copy of the user's index makes this quick; new objects go to the workshop.
    """
    index = _snapshot_index(shop)
    own = Path(git.output("rev-parse", "--path-format=absolute", "--git-path", "index"))
    with contextlib.suppress(FileNotFoundError):  # a repository without a commit may have none
        shutil.copyfile(own, index)
    variables = {
        "GIT_INDEX_FILE": str(index),
        "GIT_OBJECT_DIRECTORY": str(shop.repository.path / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
    }
    variables |= settings(**{
        "core.splitIndex": "false", "core.fsmonitor": "false", "core.untrackedCache": "false",
    })  # fmt: skip
    mine = Git(git.directory, tuple(variables.items()))
    try:
        mine.output("add", "--all", "--", ":/")
        return mine.output("write-tree")
    finally:
        index.unlink(missing_ok=True)


def _snapshot_of_directory(shop: Workshop, directory: Path) -> str:
    """The same of a directory without a repository; its index is kept, to be quick again."""
    index = _snapshot_index(shop)
    git = shop.repository.git(directory, GIT_WORK_TREE=str(directory), GIT_INDEX_FILE=str(index))
    git.output("add", "--all", "--", ".")
    return git.output("write-tree")


def _as_it_is(shop: Workshop, directory: Path, found: tuple[Git, Path] | None) -> tuple[str, str]:
    """A commit of what the directory holds now, and what to call it."""
    repository = shop.repository
    if found is None:
        with cache.locked(shop.path / "snapshot.lock"):
            tree = _snapshot_of_directory(shop, directory)
        return repository.commit_tree(tree, f"what {directory} holds"), f"tree {tree}"
    git, objects = found
    head = git.commit("HEAD")
    with cache.locked(shop.path / "snapshot.lock"):
        tree = _snapshot_of_repository(shop, git, objects)
    if not head:
        return repository.commit_tree(tree, "uncommitted"), f"tree {tree}"
    if tree == repository.tree_of(head):
        return head, head
    commit = repository.commit_tree(tree, "uncommitted changes", head)
    return commit, f"{head} with uncommitted changes (tree {tree})"


def require_kernel(has: Callable[[str], bool], label: str) -> None:
    """Raise `KernelError` unless what `has` looks into is a kernel for x86 with ext4."""
    for path, reason in (
        ("Makefile", "holds no kernel tree: it has no Makefile"),
        ("Kconfig", "holds no kernel tree: it has no Kconfig"),
        ("arch/x86/Makefile", "is no kernel for x86: it has no arch/x86"),
        ("fs/ext4/Kconfig", "is a kernel without ext4: it has no fs/ext4"),
    ):
        if not has(path):
            raise KernelError(f"{label} {reason}; give the source of a whole kernel")


def _revision(spec: TreeSpec, git: Git | None) -> str:
    if git is None:
        raise KernelError(
            f"{spec.directory} is no git repository and has no revision {spec.revision}; "
            f"tree:{spec.directory} takes it as it is"
        )
    commit = git.commit(spec.revision)
    if not commit:
        raise KernelError(
            f"{spec.directory} has no commit {spec.revision}; "
            f"`git -C {spec.directory} fetch` may bring it"
        )
    return commit


def tree_source(spec: TreeSpec) -> Source:
    """The source that `spec` names; its directory is only read.

    Raises `KernelError` if there is none, or no such revision, or no ext4 in it.
    """
    directory = spec.directory
    if not directory.is_dir():
        raise KernelError(f"there is no directory {directory} to take a kernel's source from")
    if not spec.revision:  # before anything is copied: it may be somebody's home directory
        require_kernel(lambda path: (directory / path).exists(), str(directory))
    found = _user_git(directory)
    shop = _workshop(directory, found[1] if found else None)
    if spec.revision:
        commit = base = _revision(spec, found[0] if found else None)
        require_kernel(lambda path: shop.repository.has(commit, path), spec.where)
    else:
        commit, base = _as_it_is(shop, directory, found)
    return Source(shop, commit, spec.where, base)
