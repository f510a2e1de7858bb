"""The oracle: does a candidate show the mismatch that is to be kept?

Only the two sides decide that. What is asked a second time is answered from memory, and
what the model refuses by itself needs no kernel to be discarded.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.errors import MachineryError
from harness.minimize.answers import Answer, Answers
from harness.minimize.budget import Budget
from harness.minimize.refusal import Refuses
from harness.signature import Signature, same, signature_of
from harness.verdict import Compared, Outcome, Place
from workloads.workload import Workload

__all__ = ["Oracle", "Shown", "tries_for"]

Shown = tuple[int, int]
"""In how many of how many runs a mismatch showed."""
SURE = 0.05
"""The chance to miss a candidate of a flaky mismatch that shows as often as the first."""
MOST_TRIES = 20
BROKEN_IN_A_ROW = 3
"""Broken runs after which the machinery is given up."""


def tries_for(shown: int, runs: int) -> int:
    """How often to run a candidate of a mismatch that showed `shown` times in `runs`."""
    if shown >= runs:
        return 1
    return min(MOST_TRIES, math.ceil(math.log(SURE) / math.log(1 - shown / runs)))


class Oracle:
    """Asks `run` about candidates; `target` is the signature that they have to show.

    `tried` counts the candidates that were run, `recalled` those that were known,
    `discarded` those that `refuses` has spared.
    """

    def __init__(
        self,
        run: Callable[[Workload], Compared],
        target: Signature,
        answers: Answers,
        budget: Budget,
        *,
        refuses: Refuses = lambda _: False,
        tries: int = 1,
    ) -> None:
        self._run = run
        self.target = target
        self.answers = answers
        self.budget = budget
        self._refuses = refuses
        self.tries = tries
        self.tried = 0
        self.recalled = 0
        self.discarded = 0
        self._broken = 0

    def ask(self, workload: Workload) -> Place | None:
        """Where `workload` shows the mismatch; None if it does not.

        Raises `BudgetSpentError`, and `MachineryError` if nothing runs any more.
        """
        known = self.answers.get(workload)
        if known is not None and (known.place is not None or known.tries >= self.tries):
            self.recalled += 1
            return known.place
        if self._refuses(workload):
            self.discarded += 1
            return None
        self.tried += 1
        compared = None
        for done in range(1, self.tries + 1):
            compared = self.look(workload)
            if self.shows(compared):
                place = compared.verdict.mismatches[0].place
                self.answers.put(workload, Answer(place, done))
                return place
        assert compared is not None
        if compared.verdict.outcome is not Outcome.BROKEN:
            self.answers.put(workload, Answer(None, self.tries))
        return None

    def look(self, workload: Workload) -> Compared:
        """One run, whatever is known already. Raises as `ask` does."""
        self.budget.take()
        compared = self._run(workload)
        if compared.verdict.outcome is not Outcome.BROKEN:
            self._broken = 0
            return compared
        self._broken += 1
        if self._broken == BROKEN_IN_A_ROW:
            raise MachineryError(f"{self._broken} runs in a row failed: {compared.verdict.broken}")
        return compared

    def shows(self, compared: Compared) -> bool:
        """Whether it is the same mismatch: same field, same rule (`harness.signature`)."""
        return same(self.target, signature_of(compared.verdict))

    def count(self, workload: Workload, runs: int) -> tuple[Shown, Compared | None]:
        """In how many of `runs` it shows, and a run that shows it, if there is any.

        That run is the last one, so that what it left is at hand: if need be a few more are
        made for it, which do not count.
        """
        seen = [self.look(workload) for _ in range(runs)]
        shown = sum(map(self.shows, seen))
        for _ in range(MOST_TRIES):
            if self.shows(seen[-1]):
                return (shown, runs), seen[-1]
            seen.append(self.look(workload))
        return (shown, runs), None
