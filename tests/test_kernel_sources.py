"""Where a kernel's source comes from, and that the user's tree is only read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from toy_kernel import Toy

from harness.errors import USAGE
from vm.errors import KernelError
from vm.kernels.sources import Source, tree_source
from vm.kernels.spec import TreeSpec

pytestmark = pytest.mark.usefixtures("own_cache")


def content(source: Source, path: str) -> str:
    return source.workshop.repository.git().output("show", f"{source.commit}:{path}")


def check_out(source: Source) -> Path:
    with source.workshop.locked():
        source.workshop.check_out(source.commit)
    return source.workshop.tree


def test_a_clean_tree_is_its_commit(toy: Toy) -> None:
    source = tree_source(TreeSpec(toy.path))
    assert source.commit == source.base == toy.git("rev-parse", "HEAD")
    assert source.tree == toy.git("rev-parse", "HEAD^{tree}")
    assert source.label == f"tree:{toy.path}"


def test_changes_that_are_not_committed_count(toy: Toy) -> None:
    """Changed, staged, new and deleted files; but not what .gitignore names."""
    head = toy.git("rev-parse", "HEAD")
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    toy.write("fs/ext4/staged.c", "staged\n")
    toy.git("add", "fs/ext4/staged.c")
    toy.write("fs/ext4/new.c", "new\n")
    (toy.path / "mm/filemap.c").unlink()
    toy.write("fs/ext4/inode.o", "object\n")
    toy.write(".config", "CONFIG_X=y\n")
    source = tree_source(TreeSpec(toy.path))
    names = source.workshop.repository.git().output(
        "ls-tree", "-r", "--name-only", source.commit
    ).split()  # fmt: skip
    assert {"fs/ext4/staged.c", "fs/ext4/new.c"} <= set(names)
    assert not {"mm/filemap.c", "fs/ext4/inode.o", ".config"} & set(names)
    assert "line seven" in content(source, "fs/ext4/inode.c")
    assert source.base == f"{head} with uncommitted changes (tree {source.tree})"


def test_the_same_content_has_the_same_name(toy: Toy) -> None:
    """Whether it is committed or not, and whatever happened in between."""
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    changed = tree_source(TreeSpec(toy.path))
    assert tree_source(TreeSpec(toy.path)) == changed
    toy.commit("seven")
    committed = tree_source(TreeSpec(toy.path))
    assert committed.tree == changed.tree
    assert committed.commit != changed.commit


def test_the_users_repository_is_left_as_it_is(toy: Toy) -> None:
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    toy.write("fs/ext4/new.c", "new\n")
    before = toy.state()
    check_out(tree_source(TreeSpec(toy.path)))
    check_out(tree_source(TreeSpec(toy.path, "HEAD")))
    assert toy.state() == before


def test_a_revision_is_taken_whatever_is_checked_out(toy: Toy) -> None:
    first = toy.git("rev-parse", "HEAD")
    toy.git("tag", "v1")
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    toy.commit("seven")
    for revision in ("v1", "HEAD~1", first[:10], "main~1"):
        source = tree_source(TreeSpec(toy.path, revision))
        assert source.commit == source.base == first
    assert "line 7" in content(source, "fs/ext4/inode.c")


def test_all_worktrees_of_a_repository_share_one_checkout(toy: Toy, tmp_path: Path) -> None:
    toy.git("worktree", "add", "-q", "--detach", str(tmp_path / "other"))
    other = tree_source(TreeSpec(tmp_path / "other"))
    assert other.workshop.repository.git().output("cat-file", "-t", other.commit) == "commit"
    assert other.commit == toy.git("rev-parse", "HEAD")


def test_a_tree_without_a_repository_is_taken_as_it_is(toy: Toy) -> None:
    with_git = tree_source(TreeSpec(toy.path)).tree
    shutil.rmtree(toy.path / ".git")
    source = tree_source(TreeSpec(toy.path))
    assert source.tree == with_git
    assert source.base == f"tree {with_git}"
    assert not (toy.path / ".git").exists()
    with pytest.raises(KernelError, match=r"is no git repository and has no revision v1"):
        tree_source(TreeSpec(toy.path, "v1"))


def test_a_tree_inside_another_repository_is_its_own(toy: Toy, tmp_path: Path) -> None:
    expected = tree_source(TreeSpec(toy.path)).tree
    shutil.rmtree(toy.path / ".git")
    outer = tmp_path / "outer"
    outer.mkdir()
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    toy.path.rename(outer / "linux")
    assert tree_source(TreeSpec(outer / "linux")).tree == expected


def test_a_repository_without_a_commit_is_taken_as_it_is(toy: Toy) -> None:
    expected = tree_source(TreeSpec(toy.path)).tree
    shutil.rmtree(toy.path / ".git")
    toy.git("init", "-q")
    assert tree_source(TreeSpec(toy.path)).tree == expected


def test_the_checkout_writes_only_what_differs(toy: Toy) -> None:
    """So that make compiles only that."""
    tree = check_out(tree_source(TreeSpec(toy.path)))
    before = {file: file.stat().st_mtime_ns for file in tree.rglob("*.c")}
    toy.edit("fs/ext4/inode.c", "line 7\n", "line seven\n")
    assert check_out(tree_source(TreeSpec(toy.path))) == tree
    changed = {file for file, time in before.items() if file.stat().st_mtime_ns != time}
    assert changed == {tree / "fs/ext4/inode.c"}


def test_a_checkout_that_was_killed_is_made_whole(toy: Toy) -> None:
    source = tree_source(TreeSpec(toy.path))
    tree = check_out(source)
    (tree / "fs/ext4/inode.c").write_text("half")
    (tree / "fs/ext4/super.c").unlink()
    (tree / "stray.c").touch()
    (source.workshop.path / "index.lock").touch()
    (source.workshop.path / "checkout-unfinished").touch()
    check_out(source)
    assert (tree / "fs/ext4/inode.c").read_text() == (toy.path / "fs/ext4/inode.c").read_text()
    assert (tree / "fs/ext4/super.c").is_file() and not (tree / "stray.c").exists()


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("Makefile", "holds no kernel tree: it has no Makefile"),
        ("Kconfig", "holds no kernel tree: it has no Kconfig"),
        ("arch", "is no kernel for x86"),
        ("fs/ext4", "is a kernel without ext4"),
    ],
)
def test_what_is_no_kernel_with_ext4_is_refused(toy: Toy, gone: str, reason: str) -> None:
    toy.git("rm", "-q", "-r", gone)
    with pytest.raises(KernelError, match=reason) as caught:
        tree_source(TreeSpec(toy.path))
    assert caught.value.exit_status == USAGE
    toy.commit("gone")
    with pytest.raises(KernelError, match=reason):
        tree_source(TreeSpec(toy.path, "HEAD"))


def test_a_directory_of_something_else_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("private")
    with pytest.raises(KernelError, match="holds no kernel tree"):
        tree_source(TreeSpec(tmp_path / "home"))
    assert not (tmp_path / "cache").exists()


def test_a_revision_that_does_not_exist_is_refused(toy: Toy) -> None:
    with pytest.raises(KernelError, match=r"has no commit v9.9; `git -C .* fetch` may bring it"):
        tree_source(TreeSpec(toy.path, "v9.9"))
    with pytest.raises(KernelError, match="has no commit --help"):
        tree_source(TreeSpec(toy.path, "--help"))


def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="there is no directory"):
        tree_source(TreeSpec(tmp_path / "none"))
