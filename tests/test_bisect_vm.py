"""bisect with real kernels: Debian's source, a scripted bug, a commit that does not compile."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from vm.kernels.build import source_of
from vm.kernels.spec import DebianSource, parse_spec

pytestmark = [pytest.mark.vm, pytest.mark.slow]

SOURCE = "debian-source:7.3"
SECTORS = r"(delalloc_blocks << .*- )9"
"""Where ext4_file_getattr() counts delayed blocks in sectors of 1 << 9 bytes."""
LINE = "pwrite a 0 8k; fsync a; pwrite a 8k 8k"
WHO = {"GIT_AUTHOR_NAME": "A U Thor", "GIT_AUTHOR_EMAIL": "author@example.com",
       "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.com"}  # fmt: skip
INODE, IALLOC = "fs/ext4/inode.c", "fs/ext4/ialloc.c"


class Tree:
    """A repository with commits on top of `base`, whose objects it borrows from `objects`."""

    def __init__(self, path: Path, objects: Path, base: str) -> None:
        self.path, self.head = path, base
        self.git("init", "-q", "-b", "main", str(path), cwd=path.parent)
        (path / ".git/objects/info/alternates").write_text(f"{objects}\n")
        self.git("read-tree", base)
        self.commit("the release")

    def git(self, *words: str, stdin: str = "", cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *words], cwd=cwd or self.path, env={**os.environ, **WHO}, text=True,
            input=stdin, capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout

    def commit(self, subject: str) -> str:
        tree = self.git("write-tree").strip()
        self.head = self.git("commit-tree", tree, "-p", self.head, "-m", subject).strip()
        self.git("update-ref", "HEAD", self.head)
        return self.head

    def change(self, subject: str, file: str, old: str, new: str) -> str:
        """A commit that replaces the first match of `old` in `file`, or appends to it if `old`
        is empty."""
        text = self.git("cat-file", "-p", f"{self.head}:{file}")
        changed = re.sub(old, new, text, count=1) if old else text + new
        assert changed != text
        blob = self.git("hash-object", "-w", "--stdin", stdin=changed).strip()
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{file}")
        return self.commit(subject)


@pytest.fixture
def tree(tmp_path) -> tuple[Tree, str, str]:
    """The repository, its good commit, and the commit with the bug."""
    spec = parse_spec(SOURCE)
    assert isinstance(spec, DebianSource)
    source = source_of(spec)
    (tmp_path / "linux").mkdir()
    made = Tree(tmp_path / "linux", source.workshop.repository.path / "objects", source.commit)
    good = made.change("ext4: a comment", IALLOC, "", "/* one */\n")
    bug = made.change("ext4: tidy up ext4_file_getattr()", INODE, SECTORS, r"\g<1>10")
    broken = "int ext4_broken(void) { return }\n"
    made.change("ext4: add a helper", IALLOC, "", broken)
    made.change("ext4: remove the helper", IALLOC, re.escape(broken), "")
    made.change("ext4: another comment", IALLOC, "", "/* two */\n")
    return made, good, bug


def test_the_commit_with_the_bug_is_found_past_one_that_does_not_compile(tree, capsys, tmp_path):
    made, good, bug = tree
    before = made.git("for-each-ref")
    words = ["--good", good, "--bad", "HEAD", "--tree", str(made.path), LINE]
    assert main(["bisect", *words, "--results", str(tmp_path / "found")]) == 0
    out = capsys.readouterr().out
    assert f": {bug}\n" in out
    assert "  ext4: tidy up ext4_file_getattr()\n  A U Thor <author@example.com>" in out
    assert "differ at step 1 of 3 (pwrite a 0 8k): " in out
    assert "blocks of a" in out
    assert made.git("for-each-ref") == before
