"""Find the first bad commit: git bisect, with a workload as the test.

git does the choosing, in a bare repository of ours that borrows the user's objects, so
that nothing of the user's is written to: no checkout, no reference, no worktree. What a
commit is like is for `examine` to say, which builds and runs it; here nothing is known of
kernels, and a repository of three files bisects as well.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.errors import MachineryError, UsageError
from vm.kernels.git import Git, Repository, reason_of
from vm.scratch import scratch

__all__ = ["Answer", "Commit", "Found", "Judgement", "NotNarrowedError", "bisect", "repository_of"]

_FIRST_BAD = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit", re.MULTILINE)
_LEFT = re.compile(r"\(roughly (\d+) steps?\)")
_ONLY_SKIPPED = "only 'skip'ped commits left"


class Answer(enum.StrEnum):
    """What git bisect is told of a commit."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class Judgement(msgspec.Struct, frozen=True):
    """What was found out of one commit.

    `signature` tells its mismatch from others, empty without one; `said` is for people:
    the mismatch in a line, or why the commit can't be judged (then `testable` is False).
    """

    signature: tuple[str, ...] = ()
    said: str = ""
    testable: bool = True


Examine = Callable[[str], Judgement]
"""Builds and tests the commit of that full name."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Commit:
    """A commit as people call it."""

    sha: str
    author: str
    date: str
    subject: str

    def __str__(self) -> str:
        return f'{self.sha[:12]} ("{self.subject}")'


@dataclass(frozen=True)
class Found:
    """The first bad commit and its mismatch."""

    commit: Commit
    judgement: Judgement
    tested: int


class NotNarrowedError(MachineryError):
    """Only commits that can't be tested are left: one of them is the first bad one."""


# --- the repository ---------------------------------------------------------------------


@contextlib.contextmanager
def repository_of(tree: Path) -> Iterator[Repository]:
    """A bare repository that borrows the objects of the user's at `tree`, while it is needed.

    Raises `UsageError` if there is none.
    """
    git = Git(tree)
    done = git.run("rev-parse", "--path-format=absolute", "--git-path", "objects")
    if done.returncode != 0:
        raise UsageError(f"{tree} is no git repository to bisect: {reason_of(done)}")
    objects = Path(done.stdout.decode().rstrip("\n"))
    with scratch("bisect") as where:
        yield Repository.create(where / "git", objects)


def _commit(git: Git, sha: str) -> Commit:
    words = git.output("log", "-1", "--format=%H%n%an <%ae>%n%ad%n%s", "--date=short", sha)
    return Commit(*words.split("\n", 3))


# --- bisecting --------------------------------------------------------------------------


@dataclass
class _Search:
    """git bisect under way in `git`; `signature` is the bad commit's."""

    git: Git
    examine: Examine
    tell: Tell
    signature: tuple[str, ...] = ()
    known: dict[str, Judgement] = field(default_factory=dict)

    def judge(self, sha: str, left: str = "") -> Judgement:
        """What the commit is like, from `examine` or from before."""
        before = self.known.get(sha)
        if before is None:
            self.tell(f"testing {_commit(self.git, sha)}{left}")
            before = self.known[sha] = self.examine(sha)
        return before

    def answer(self, judgement: Judgement) -> Answer:
        """What to tell git: another mismatch than the one that is sought says nothing."""
        if not judgement.testable:
            return Answer.SKIP
        if not judgement.signature:
            return Answer.GOOD
        return Answer.BAD if judgement.signature == self.signature else Answer.SKIP

    def mark(self, answer: Answer, sha: str) -> str:
        """Tell git; what it says next."""
        done = self.git.run("bisect", answer, sha)
        said = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        if _ONLY_SKIPPED in said:
            raise NotNarrowedError(self._only_skipped(said))
        if done.returncode != 0:
            raise UsageError(f"git bisect can't go on: {said.strip()}")
        return said

    def _only_skipped(self, said: str) -> str:
        names = re.findall(r"^[0-9a-f]{40,64}$", said, re.MULTILINE)
        lines = [f"  {_commit(self.git, sha)}: {self._why(sha)}" for sha in names]
        head = "only commits are left that can't be tested; the first bad one is one of these:"
        return "\n".join([head, *lines])

    def _why(self, sha: str) -> str:
        judgement = self.known.get(sha)
        if judgement is None:
            return "not tested"
        return "bad" if self.answer(judgement) is Answer.BAD else f"skipped: {judgement.said}"


def bisect(
    repository: Repository, good: str, bad: str, examine: Examine, *, tell: Tell = print,
    known: dict[str, Judgement] | None = None,
) -> Found:  # fmt: skip
    """The first commit between `good` and `bad` (full names) that is bad.

    First the two ends are tested. `known` holds what is known of commits already, and
    takes what is found out, at once. Raises `UsageError` if an end is not what it is said
    to be, or git can't bisect between them; `NotNarrowedError`; and what `examine` does.
    """
    search = _Search(repository.git(), examine, tell, known={} if known is None else known)
    _check_ends(search, good, bad)
    search.git.output("update-ref", "--no-deref", "HEAD", bad)  # git bisect wants one
    search.git.output("bisect", "start", "--no-checkout")
    search.mark(Answer.BAD, bad)
    said = search.mark(Answer.GOOD, good)
    while (first := _FIRST_BAD.search(said)) is None:
        sha = search.git.commit("BISECT_HEAD")
        steps = _LEFT.search(said)
        left = f", about {steps[1]} step{'' if steps[1] == '1' else 's'} left" if steps else ""
        judgement = search.judge(sha, left)
        answer = search.answer(judgement)
        reason = f": {judgement.said}" if judgement.said else ""
        tell(f"  {answer} {sha[:12]}{reason}")
        said = search.mark(answer, sha)
    commit = _commit(search.git, first[1])
    return Found(commit, search.judge(first[1]), len(search.known))


def _check_ends(search: _Search, good: str, bad: str) -> None:
    """Test both ends, and take the bad one's mismatch for the one that is sought."""
    if good == bad:
        raise UsageError(f"--good and --bad are the same commit, {bad[:12]}")
    ends = {}
    for name, sha in (("bad", bad), ("good", good)):
        ends[name] = judgement = search.judge(sha)
        commit = _commit(search.git, sha)
        if not judgement.testable:
            raise UsageError(
                f"the {name} commit {commit} can't be tested: {judgement.said}; "
                "give another one that builds and boots"
            )
        if name == "bad" and not judgement.signature:
            raise UsageError(f"the bad commit {commit} is not bad: the workload shows no mismatch")
        search.tell(f"  {'bad' if judgement.signature else 'good'}"
                    f" {sha[:12]}{f': {judgement.said}' if judgement.said else ''}")  # fmt: skip
    found, search.signature = ends["good"].signature, ends["bad"].signature
    if found:
        same = found == search.signature
        raise UsageError(
            f"the good commit {_commit(search.git, good)} is not good: "
            + (f"it shows the same mismatch: {ends['good'].said}; give an older one" if same
               else f"it shows another mismatch: {ends['good'].said}")
        )  # fmt: skip
