"""Programs that are observed only at their end, and again after each step if that shows something.

Looking at the file system takes most of a guest's time. With `--observe end` each operation's
result is compared, what is seen after the last one, and what is left; all else is counted as not
compared. Two kinds of programs are observed after every step all the same: those of which the
verdict needs it (`needs_steps`), and those that show a mismatch, so that it has its step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from harness.comparison.compare import compare
from harness.pairs import Pair
from harness.trace import Observe
from harness.verdict import Compared, Mismatch, Outcome
from workloads.ops import Parallel, Shutdown, calls
from workloads.workload import Workload

__all__ = ["needs_steps", "observed_as_chosen"]

AGREES = "observed after every step, the same program agrees"
UNFORETOLD = "with only the end observed the model foretells something else than with the steps"


def needs_steps(workload: Workload) -> bool:
    """Whether what is right at the end depends on what was seen before: which order the threads
    of a section came in, how long a file was whose file system is shut down then."""
    return any(isinstance(op, Parallel | Shutdown) for op in (*workload.ops, *calls(workload.ops)))


def observed_as_chosen(
    pair: Pair, run: Callable[[Workload], Compared], workload: Workload
) -> Compared:
    """What `run`, the pair's runner, finds in `workload`, observed as the pair's choice says.

    A mismatch that shows at the end is looked for once more with everything observed: that
    run's is told if it has one. If it has none, the first one is, with a note, unless it lies in
    what the model did not know: then the second run is told, and counts what differed as not
    compared. What the model can't foretell without the steps is observed after each, too, and
    judged by that alone.
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
    if failed is None and _as_foretold(at_end, full):
        return _without(at_end, full)
    failed = failed or full.verdict.refused
    note = f"observed after every step it could not be judged: {failed}" if failed else AGREES
    return msgspec.structs.replace(at_end, verdict=msgspec.structs.replace(verdict, note=note))


def _as_foretold(at_end: Compared, full: Compared) -> bool:
    """Whether the kernel did at the end what the model foretells that knows where it put blocks
    after each step, so that the model without that is at fault, and not the kernel."""
    if full.expected is None or at_end.actual is None:
        return False
    again = compare(full.expected, at_end.actual).mismatches
    return not _fields(at_end.verdict.mismatches) & _fields(again)


def _fields(mismatches: Iterable[Mismatch]) -> set[tuple[object, ...]]:
    """What differs, and where."""
    return {(m.place, m.file, m.field) for m in mismatches}


def _without(at_end: Compared, full: Compared) -> Compared:
    """The second run, with what differed in the first one as not compared."""
    unknown = Counter((m.field, UNFORETOLD) for m in at_end.verdict.mismatches)
    counted = {**full.verdict.not_compared, **unknown}
    return msgspec.structs.replace(
        full, verdict=msgspec.structs.replace(full.verdict, not_compared=counted)
    )
