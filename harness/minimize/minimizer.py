"""One workload from the first look at it to its minimal form and how reliably that shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.artifacts.artifact import program_of
from harness.errors import MachineryError, NotModelledError, UsageError
from harness.minimize.answers import Answers
from harness.minimize.budget import Budget, BudgetSpentError
from harness.minimize.files import replace_file
from harness.minimize.oracle import Oracle, Shown, tries_for
from harness.minimize.refusal import Refuses
from harness.minimize.search import Search
from harness.signature import Signature, same, signature_of
from harness.verdict import Compared, Outcome, Place, Verdict
from reports.terminal import headline
from reports.words import times
from vm.live_line import LiveLine
from workloads.syntax import format_program
from workloads.workload import Workload

__all__ = ["Minimized", "Minimizer", "NotShownError"]


class NotShownError(UsageError):
    """The workload does not show the mismatch that is to be minimized."""


@dataclass(frozen=True)
class Minimized:
    """What came of it.

    `first` and `shown_first` are the workload that was given and how often it showed;
    `best` and `shown_best` (None if that was not looked at) the simplest. `compared` is a
    run of it that shows the mismatch, if there is one at hand. `spent` says which part of
    the budget was used up before the search ended by itself.
    """

    first: Workload
    best: Workload
    shown_first: Shown
    shown_best: Shown | None = None
    compared: Compared | None = None
    spent: str = ""


class Minimizer:
    """Minimizes `workload`; `run` has the two sides run a candidate.

    `target` is the signature that has to show; without one, that of the first run. What
    is known of candidates is kept in `known` (`Answers` of `question` and that signature),
    the best so far in `best`, both files. `repeat` is how often the first and the last are
    run. `refusal` gives what discards candidates without a run, once the mismatch was seen.
    """

    def __init__(
        self,
        run: Callable[[Workload], Compared],
        workload: Workload,
        target: Signature | None,
        *,
        question: str,
        known: Path | None = None,
        best: Path | None = None,
        budget: Budget | None = None,
        repeat: int = 3,
        refusal: Callable[[Verdict], Refuses | None] = lambda _: None,
        progress: LiveLine | None = None,
    ) -> None:
        self.workload = workload
        self.target = target
        self._recorded = target is not None
        self.budget = budget or Budget()
        self._run = run
        self._question = question
        self._files = (known, best)
        self._repeat = repeat
        self._refusal = refusal
        self._progress = progress
        self._search: Search | None = None
        self._oracle: Oracle | None = None
        self._shown_first: Shown = (0, 0)

    # --- the three parts ---------------------------------------------------------------

    def minimize(self) -> Minimized:
        """Look, search, look again.

        Raises `NotShownError` if there is nothing to minimize, `MachineryError` if nothing
        runs any more; after that, or a Ctrl-C, `so_far` has the best.
        """
        search = self._begin(self._look())
        spent = ""
        try:
            search.run()
        except BudgetSpentError as error:
            spent = str(error)
        self._keep()
        return self._confirm(spent)

    def so_far(self) -> Minimized | None:
        """The best so far, None before there is one."""
        if self._search is None:
            return None
        return Minimized(self.workload, self._search.best, self._shown_first)

    def _look(self) -> Verdict:
        """Run the workload `repeat` times; one that shows it. Raises `NotShownError`."""
        shown, runs, example = 0, 0, None
        others: list[Verdict] = []
        for _ in range(self._repeat):
            try:
                self.budget.take()
            except BudgetSpentError:
                if runs:
                    break
                raise UsageError("the budget is spent before the first run is over") from None
            verdict = self._run(self.workload).verdict
            runs += 1
            found = signature_of(verdict)
            self.target = self.target or found
            if same(self.target, found):
                shown, example = shown + 1, verdict
            else:
                others.append(verdict)
        if example is None:
            raise self._nothing(others, runs)
        self._shown_first = (shown, runs)
        return example

    def _begin(self, shown: Verdict) -> Search:
        assert self.target is not None
        question = f"{self._question} {self.target.id}"
        self._oracle = Oracle(
            self._run, self.target, Answers(question, self._files[0]), self.budget,
            refuses=self._refusal(shown) or (lambda _: False), tries=tries_for(*self._shown_first),
        )  # fmt: skip
        self._tell_start(self._oracle)
        named = msgspec.structs.replace(self.workload, shows=_shows(self.workload, self.target))
        self._search = Search(named, shown.mismatches[0].place, self._ask, self._keep)
        return self._search

    def _confirm(self, spent: str) -> Minimized:
        """Run the best as often as the first; that is not held against the budget."""
        assert self._search is not None
        assert self._oracle is not None
        best = self._search.best
        unlimited = Oracle(self._run, self._oracle.target, Answers(""), Budget())
        shown, example = unlimited.count(best, self._repeat)
        return Minimized(self.workload, best, self._shown_first, shown, example, spent)

    # --- on the way --------------------------------------------------------------------

    def _ask(self, workload: Workload) -> Place | None:
        self._show(news=False)
        assert self._oracle is not None
        return self._oracle.ask(workload)

    def _keep(self) -> None:
        """Keep the best so far in its file."""
        self._show(news=True)
        path = self._files[1]
        if path is None or self._search is None:
            return
        replace_file(path, format_program(program_of(self._search.best)).encode())

    def _show(self, *, news: bool) -> None:
        if self._progress is not None and self._search is not None:
            self._progress.show(f"{self._search.phase}: {self.counts()}", news=news)

    def _tell_start(self, oracle: Oracle) -> None:
        if self._progress is None:
            return
        shown, runs = self._shown_first
        self._progress.tell(f"shows in {shown} of {runs} runs: {oracle.target.text}")
        if oracle.tries > 1:
            self._progress.tell(f"it is flaky: each candidate gets up to {oracle.tries} runs")
        if oracle.answers.earlier:
            self._progress.tell(
                f"known from earlier runs: {times(oracle.answers.earlier, 'candidate')}"
            )

    def counts(self) -> str:
        """Candidates, operations and seconds so far."""
        assert self._oracle is not None
        assert self._search is not None
        oracle = self._oracle
        left = times(len(self._search.ops), "operation")
        return (
            f"{times(oracle.tried, 'candidate')} run, {oracle.recalled} known,"
            f" {oracle.discarded} discarded by the model; {left} left; {self.budget.spent:.1f} s"
        )

    def _nothing(self, others: list[Verdict], runs: int) -> Exception:
        """Why there is nothing to minimize."""
        verdict = others[0]
        said = headline(verdict)
        if verdict.outcome is Outcome.BROKEN:
            return MachineryError(said)
        if verdict.outcome is Outcome.NOT_MODELLED:
            return NotModelledError(said)
        often = "one run" if runs == 1 else f"{runs} runs"
        kernel = f" on kernel {verdict.kernel}" if verdict.kernel else ""
        hint = ""
        if verdict.outcome is Outcome.KNOWN:
            hint = "; --strict-model counts known issues as mismatches"
        elif self._recorded:
            hint = "; if it is rare, more runs (--runs 50) may show it; else see --kernel"
        what = "the mismatch does not show any more" if self._recorded else "no mismatch shows"
        if verdict.outcome is Outcome.MISMATCH:
            what = "another mismatch shows than the one to be minimized"
        return NotShownError(f"{what}, in {often}{kernel}: {said}{hint}")


def _shows(workload: Workload, target: Signature) -> str:
    """What the result's file says that it shows: a line that a header can hold."""
    differs = "; ".join(map(": ".join, zip(target.fields, target.shape, strict=True)))
    return " ".join(f"minimized from {workload.program}; {differs}".replace("#", "").split())[:100]
