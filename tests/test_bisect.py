"""bisect: on a repository of one file, with a test that reads it instead of booting it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.bisect import Answer, Judgement, NotNarrowedError, bisect, repository_of
from harness.errors import UsageError

SIZE = ("4k@delalloc", "0", "a size")
OTHER = ("4k@delalloc", "0", "a blocks")


def git(tree: Path, *words: str, stdin: str = "") -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *words], cwd=tree, env=environment, input=stdin, capture_output=True, check=True,
        text=True,
    )  # fmt: skip
    return done.stdout.strip()


class Toy:
    """A repository in which commit number n holds the n-th of some words."""

    def __init__(self, tree: Path, words: str) -> None:
        self.tree = tree
        self.tested: list[str] = []
        self.told: list[str] = []
        git(tree, "init", "-q", "-b", "main")
        commits = [self._commit(number, word) for number, word in enumerate(words.split())]
        git(tree, "fast-import", "--quiet", stdin="".join(commits))
        git(tree, "reset", "-q", "--hard")
        self.shas = git(tree, "rev-list", "--reverse", "main").split()
        self.words = dict(zip(self.shas, words.split(), strict=True))

    @staticmethod
    def _commit(number: int, word: str) -> str:
        subject, text = f"change {number}: {word}", f"{word} {number}"
        return (
            "commit refs/heads/main\n"
            f"author A U Thor <author@example.com> {number} +0000\n"
            f"committer C <c@example.com> {number} +0000\n"
            f"data {len(subject)}\n{subject}\nM 100644 inline kernel\ndata {len(text)}\n{text}\n\n"
        )

    def examine(self, sha: str) -> Judgement:
        self.tested.append(sha)
        return {
            "good": Judgement(),
            "bad": Judgement(SIZE, "size of a differs"),
            "other": Judgement(OTHER, "blocks of a differ"),
            "unbuildable": Judgement(said="fs/ext4/inode.c:1: error: oops", testable=False),
        }[self.words[sha]]

    def bisect(self, good: int = 0, bad: int = -1, **more):
        with repository_of(self.tree) as repository:
            return bisect(
                repository, self.shas[good], self.shas[bad], self.examine,
                tell=self.told.append, **more,
            )  # fmt: skip


@pytest.fixture
def toy(tmp_path):
    return lambda words: Toy(tmp_path, words)


def test_the_first_bad_commit_is_found_with_its_author_and_mismatch(toy):
    repository = toy("good good good good good bad bad bad bad bad bad")
    found = repository.bisect()
    assert found.commit.sha == repository.shas[5]
    assert found.commit.subject == "change 5: bad"
    assert found.commit.author == "A U Thor <author@example.com>"
    assert found.judgement == Judgement(SIZE, "size of a differs")
    assert found.tested == len(set(repository.tested)) == len(repository.tested) <= 6


@pytest.mark.parametrize("first", range(1, 7))
def test_wherever_it_is(toy, first):
    repository = toy("good " * first + "bad " * (7 - first))
    assert repository.bisect().commit.sha == repository.shas[first]


def test_progress_says_what_is_tested_and_how_many_steps_are_left(toy):
    repository = toy("good good good good good bad bad bad")
    repository.bisect()
    assert repository.told[0] == f'testing {repository.shas[-1][:12]} ("change 7: bad")'
    assert f"  bad {repository.shas[-1][:12]}: size of a differs" in repository.told
    assert f"  good {repository.shas[0][:12]}" in repository.told
    assert any(line.endswith(", about 2 steps left") for line in repository.told)


def test_commits_that_do_not_build_are_skipped_and_said_so(toy):
    repository = toy("good good unbuildable unbuildable good bad bad bad")
    assert repository.bisect().commit.sha == repository.shas[5]
    assert any(line.startswith("  skip ") and "error: oops" in line for line in repository.told)


def test_another_mismatch_is_no_answer(toy):
    repository = toy("good good good other good bad bad bad")
    assert repository.bisect().commit.sha == repository.shas[5]
    assert any("skip" in line and "blocks of a differ" in line for line in repository.told)


def test_if_only_untestable_commits_are_left_all_candidates_are_named(toy):
    repository = toy("good unbuildable unbuildable bad")
    with pytest.raises(NotNarrowedError) as raised:
        repository.bisect()
    text = str(raised.value)
    for number in (1, 2, 3):
        assert repository.shas[number][:12] in text
    assert repository.shas[0][:12] not in text
    assert "skipped: fs/ext4/inode.c:1: error: oops" in text
    assert raised.value.exit_status == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bad good bad", "the good commit .* is not good: it shows the same mismatch"),
        ("other good bad", "the good commit .* is not good: it shows another mismatch"),
        ("good bad good", "the bad commit .* is not bad"),
        ("unbuildable good bad", "the good commit .* can't be tested: .*oops"),
        ("good bad unbuildable", "the bad commit .* can't be tested: .*oops"),
    ],
)
def test_ends_that_are_not_what_they_are_said_to_be(toy, words, said):
    with pytest.raises(UsageError, match=said):
        toy(words).bisect()


def test_one_commit_for_both_ends_is_refused(toy):
    with pytest.raises(UsageError, match="same commit"):
        toy("good bad").bisect(0, 0)


def test_a_fix_is_not_taken_for_a_bug(toy):
    repository = toy("bad bad good")
    with pytest.raises(UsageError):
        repository.bisect(good=2, bad=0)


def test_an_interrupted_search_goes_on_where_it_was(toy):
    repository = toy("good good good good good bad bad bad")
    known: dict[str, Judgement] = {}
    examine = repository.examine

    def interrupted(sha: str) -> Judgement:
        if len(known) == 3:
            raise KeyboardInterrupt
        return examine(sha)

    repository.examine = interrupted
    with pytest.raises(KeyboardInterrupt):
        repository.bisect(known=known)
    assert len(known) == 3
    repository.examine, repository.tested = examine, []
    assert repository.bisect(known=known).commit.sha == repository.shas[5]
    assert not set(repository.tested) & set(list(known)[:3])


def test_the_users_repository_is_left_as_it_was(toy, tmp_path):
    def state():
        return {
            path.relative_to(tmp_path): path.stat().st_mtime_ns
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    repository = toy("good good bad bad")
    (tmp_path / "kernel").write_text("not committed")
    before = state()
    repository.bisect()
    with pytest.raises(KeyError):
        repository.examine = {}.__getitem__
        repository.bisect()
    assert state() == before
    assert git(tmp_path, "worktree", "list").count("\n") == 0


def test_nothing_is_left_behind(toy, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    toy("good bad").bisect()
    assert not list(scratch.iterdir())


def test_a_directory_without_git_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no git repository"), repository_of(tmp_path):
        pass


def test_answers_are_words_of_git():
    assert {str(answer) for answer in Answer} == {"good", "bad", "skip"}
