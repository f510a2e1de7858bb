"""Programs that are observed only at their end, and again after each step if that shows something.

Looking at the file system takes most of a guest's time. With `--observe end` each operation's
result is compared, what is seen after the last one, and what is left; all else is counted as not
compared. Two kinds of programs are observed after every step all the same: those of which the
verdict needs it (`needs_steps`), and those that show a mismatch, so that it has its step.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.pairs import Pair
from harness.trace import Observe
from harness.verdict import Compared, Outcome
from workloads.ops import Parallel, Shutdown, calls
from workloads.workload import Workload

__all__ = ["needs_steps", "observed_as_chosen"]

AGREES = "observed after every step, the same program agrees"


def needs_steps(workload: Workload) -> bool:
    """Whether what is right at the end depends on what was seen before: which order the threads
    of a section came in, how long a file was whose file system is shut down then."""
    return any(isinstance(op, Parallel | Shutdown) for op in (*workload.ops, *calls(workload.ops)))


def observed_as_chosen(
    pair: Pair, run: Callable[[Workload], Compared], workload: Workload
) -> Compared:
    """What `run`, the pair's runner, finds in `workload`, observed as the pair's choice says.

    A mismatch that shows at the end is looked for once more with everything observed: that
    run's is told if it has one. If it has none, the first one is, with a note. What the model
    can't foretell without the steps is observed after each, too, and judged by that alone.
    """
    if pair.choice.observe is Observe.STEPS or needs_steps(workload):
        return run(workload)
    with pair.observing(Observe.END):
        at_end = run(workload)
    verdict = at_end.verdict
    if verdict.outcome is not Outcome.MISMATCH and verdict.refused is None:
        return at_end
    full = run(workload)
    failed = full.verdict.broken or full.verdict.unusable
    if full.verdict.mismatches or not verdict.mismatches:
        return full
    if verdict.refused is not None and failed is None:
        return full
    failed = failed or full.verdict.refused
    note = f"observed after every step it could not be judged: {failed}" if failed else AGREES
    return msgspec.structs.replace(at_end, verdict=msgspec.structs.replace(verdict, note=note))
