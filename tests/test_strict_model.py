"""--strict-model: where a known issue shows, that is a mismatch."""

from __future__ import annotations

import pytest
from fakes import LINE, RELEASE, FakeSubject, make_trace, seen

from harness import pairs
from harness.cli import main
from harness.trace import Placement, Step, Trace
from workloads.workload import Workload

QUIRK = "efault_beyond_eof_moves_size"
STUCK = Step("EFAULT", (), seen(size=8192))
FOLLOWED = Step("EFAULT", (), seen(size=8192), quirks=(QUIRK,))


class FollowingModel(FakeSubject):
    """A model that follows the known issue when it is told to."""

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        return make_trace(workload, steps={1: FOLLOWED} if QUIRK in quirks else None)


@pytest.fixture(autouse=True)
def sides(monkeypatch, tmp_path):
    """A kernel that has the known issue, and a model that can follow it."""
    monkeypatch.chdir(tmp_path)
    model = FollowingModel("model", [])

    def kernel(argument, choice):
        return FakeSubject("guest", [lambda w: make_trace(w, "guest", RELEASE, {1: STUCK})])

    monkeypatch.setitem(pairs.MAKERS, "model", lambda argument, choice: model)
    monkeypatch.setitem(pairs.MAKERS, "kernel", kernel)


def test_run_follows_known_issues_unless_it_is_told_not_to(capsys):
    assert main(["run", LINE]) == 0
    assert "known (efault-beyond-eof-moves-size)" in capsys.readouterr().out
    assert main(["run", LINE, "--strict-model"]) == 1
    out = capsys.readouterr().out
    assert "model and guest differ at step 2 of 3" in out
    assert "where a known issue shows, that is a mismatch" in out


@pytest.mark.parametrize("word", ["--strict", "--strict-model"])
def test_the_main_job_too_also_by_the_name_that_pytest_has_for_something_else(word, tmp_path):
    (tmp_path / "one.ops").write_text(f"on: 4k@delalloc\n\n{LINE}\n")
    assert main(["differential", "one.ops", "-q", "-p", "no:cacheprovider"]) == 0
    assert main(["differential", "one.ops", "-q", "-p", "no:cacheprovider", word]) == 1


def test_two_kernels_of_which_one_has_the_issue_differ_by_it_or_mismatch(monkeypatch, capsys):
    def kernel(argument, choice):
        steps = {1: STUCK} if argument is None else None
        return FakeSubject("guest", [lambda w: make_trace(w, "guest", RELEASE, steps)])

    monkeypatch.setitem(pairs.MAKERS, "kernel", kernel)
    words = ["run", LINE, "--against", "debian:trixie"]
    assert main(words) == 0
    assert "known (efault-beyond-eof-moves-size)" in capsys.readouterr().out
    assert main([*words, "--strict-model"]) == 1
    assert "base and kernel differ at step 2 of 3" in capsys.readouterr().out
