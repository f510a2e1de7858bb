"""`ext4diff bisect`: from a toy repository to the explanation, with a fake kernel."""

from __future__ import annotations

import subprocess

import msgspec
import pytest
from fakes import RELEASE, FakeSubject, make_trace, seen
from test_bisect import Toy, git

from harness import pairs
from harness.cli import main
from harness.trace import Step
from vm.errors import BootTimeoutError, BuildError, HostToolError

WRONG = Step(result=7, events=(), observation=seen())
LINE = "pwrite a 0 4k; fsync a"


class Kernel(FakeSubject):
    """Does what its commit's file says, at its start or in its run."""

    def __init__(self, word: str) -> None:
        steps = {"bad": {1: WRONG}, "other": {0: WRONG}}.get(word)
        super().__init__("guest", [lambda workload: make_trace(workload, "guest", RELEASE, steps)])
        self.word = word

    def prepare(self) -> None:
        error = {
            "unbuildable": BuildError("fs/ext4/inode.c:1: error: oops\nmore"),
            "unbootable": BootTimeoutError("no report from the agent"),
            "toolless": HostToolError("flex is missing; run: apt-get install flex"),
            "interrupted": KeyboardInterrupt(),
        }.get(self.word)
        if error is not None:
            raise error


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Makes a repository of these words and searches it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    monkeypatch.setitem(
        pairs.MAKERS, "model", lambda spec, choice: FakeSubject("model", [make_trace])
    )

    def maker(spec, choice):
        where, _, sha = spec.rpartition("@")
        assert where == f"tree:{tree}"
        return Kernel(git(tree, "show", f"{sha}:kernel").split()[0])

    monkeypatch.setitem(pairs.MAKERS, "kernel", maker)

    def run(words: str, *more: str) -> int:
        toy = Toy(tree, words)
        git(tree, "tag", "old", toy.shas[0])
        git(tree, "tag", "new", toy.shas[-1])
        what = [] if "--artifact" in more else [LINE]
        more = tuple(word for word in more if word != "--artifact")
        return main(["bisect", "--good", "old", "--bad", "new", "--tree", str(tree), *what, *more])

    return run


def test_it_ends_with_the_first_bad_commit_and_its_mismatch(search, capsys, tmp_path):
    assert search("good good unbuildable unbootable good bad bad bad", "--results", "found") == 0
    out = capsys.readouterr().out
    assert "change 5: bad\n  A U Thor <author@example.com>, " in out
    assert "model and guest differ at step 2 of 2 (fsync a): result" in out
    assert list(tmp_path.glob("found/*/line@4k@delalloc/actual.json"))


def test_commits_that_do_not_build_or_boot_are_skipped(search, capsys):
    assert search("good unbuildable unbootable bad") == 3
    said = capsys.readouterr()
    assert "fs/ext4/inode.c:1: error: oops" in said.out + said.err
    assert "no report from the agent" in said.err
    assert "more" not in said.out


def test_a_host_that_cannot_build_is_no_fault_of_the_commit(search, capsys):
    assert search("good good toolless good bad") == 3
    assert "ext4diff: flex is missing; run: apt-get install flex" in capsys.readouterr().err


def test_an_interrupted_search_says_how_to_go_on_and_does(search, capsys, monkeypatch, tmp_path):
    assert search("good good good interrupted good good bad bad") == 130
    assert "2 commits judged so far: the same command goes on from here" in capsys.readouterr().out
    monkeypatch.setattr(Kernel, "prepare", lambda self: None)
    tree = tmp_path / "tree"
    again = ["bisect", "--good", "old", "--bad", "new", "--tree", str(tree), LINE]
    assert main(again) == 0
    out = capsys.readouterr().out
    assert "change 6: bad" in out
    shas = git(tree, "log", "--format=%h", "--abbrev=12").split()
    assert f"testing {shas[0]}" not in out  # the newest, and bad
    assert f"testing {shas[-1]}" not in out


def test_an_end_that_is_not_what_it_is_said_to_be_is_status_2(search, capsys):
    assert search("good good good") == 2
    assert "is not bad: the workload shows no mismatch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--good", "nothing", "--bad", "HEAD"], "--good nothing: "),
        (["--good", "a", "--bad", "b", "--tree", "/nowhere"], "there is no such directory"),
    ],
)
def test_bad_input_is_status_2_in_one_line(tmp_path, capsys, words, said):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert main(["bisect", "--tree", str(tmp_path), *words, LINE]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_what_could_not_be_tested_is_tried_again(search, capsys, monkeypatch, tmp_path):
    assert search("good unbuildable bad") == 3
    monkeypatch.setattr(Kernel, "prepare", lambda self: None)
    tree = str(tmp_path / "tree")
    assert main(["bisect", "--good", "old", "--bad", "new", "--tree", tree, LINE]) == 0
    assert "change 2: bad" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "/nowhere"], "cannot read the kernel /nowhere"),
        (["--against", "path:both"], "the paths are"),
        (["--config", "/nowhere"], "cannot read the configuration /nowhere"),
        (["--results", "/dev/null/x"], "/dev/null is no directory"),
    ],
)
def test_what_is_wrong_whatever_the_commit_is_no_fault_of_a_commit(search, capsys, words, said):
    assert search("good bad", *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "can't be tested" not in err


def test_a_workload_that_cannot_be_read_is_status_2(search, capsys):
    assert search("good bad", "--on", "9k@delalloc") == 2
    assert "is no configuration" in capsys.readouterr().err


def test_judgements_of_another_workload_are_not_taken_for_this_one(search, tmp_path):
    assert search("good bad") == 0
    kept = list((tmp_path / "cache/ext4diff/bisect").iterdir())
    assert len(kept) == 1
    assert len(msgspec.json.decode(kept[0].read_bytes())) == 2
    tree = str(tmp_path / "tree")
    assert main(["bisect", "--good", "old", "--bad", "new", "--tree", tree, LINE + "; sync"]) == 0
    assert len(list((tmp_path / "cache/ext4diff/bisect").iterdir())) == 2


def test_the_commit_is_noted_in_the_artifact_and_told_in_its_mail(search, capsys, tmp_path):
    """What was recorded on some kernel is looked for in the tree's commits."""
    wrong = lambda workload: make_trace(workload, "guest", RELEASE, {1: WRONG})  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pairs.MAKERS, "kernel", lambda spec, choice: FakeSubject("guest", [wrong]))
        assert main(["run", LINE, "--results", "first", "--strict"]) == 1
    (artifact,) = (tmp_path / "first").iterdir()
    capsys.readouterr()
    assert search("good good bad bad", "--artifact", str(artifact)) == 0
    out = capsys.readouterr().out
    assert f"noted in {artifact}/bisect.json, for ext4diff mail" in out
    assert main(["mail", str(artifact)]) == 0
    mail = capsys.readouterr().out
    assert "Cc: A U Thor <author@example.com>, regressions@lists.linux.dev" in mail
    assert "first bad commit is" in mail.replace("\n", " ")
    assert '("change 2: bad")' in mail
    assert "#regzbot introduced: " in mail
    words = ["--good", "old", "--bad", "new", "--tree", str(tmp_path / "tree")]
    assert main(["bisect", *words, str(artifact), "--on", "4k@delalloc"]) == 2
    assert "--on: an artifact has its own configuration" in capsys.readouterr().err
