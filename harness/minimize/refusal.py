"""What the model alone can tell of a candidate: that it cannot show the mismatch.

It never says that one does: that takes the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.errors import MachineryError, NotModelledError, UsageError
from harness.known import KNOWN_ISSUES
from harness.pairs import Pair
from harness.sides.side import on_path
from harness.signature import Signature, signature_of, situation
from harness.start import open_start
from harness.verdict import Verdict
from model import Behaviour, Model
from model.run import check_covered
from vm import mkfs
from workloads.ops import Parallel
from workloads.workload import Workload

__all__ = ["Refuses", "discarding", "refusal_of"]

Refuses = Callable[[Workload], bool]
"""Whether a workload can be told, without the kernel, not to show the mismatch."""

_WITHOUT_MODEL = {"kernel", "log", "fsck", "image"}
"""Fields of mismatches that a kernel can show whatever the model says."""


def refusal_of(pair: Pair, shown: Verdict) -> Refuses | None:
    """What discards candidates before the kernel of `pair` runs them; None if nothing can.

    The mismatch is that of `shown`. The same mismatch has the same rules of the model behind
    it (`harness.signature`): where no step applies them it cannot show. The model follows the
    known issues that it followed for `shown`.
    """
    target = signature_of(shown)
    if target is None or not pair.expected.is_model or _WITHOUT_MODEL & set(target.fields):
        return None
    side = pair.actual
    quirks = {issue.quirk for issue in KNOWN_ISSUES if issue.name in shown.known and issue.quirk}
    behaviour = Behaviour.of_release(
        side.release(), iomap=side.knows_iomap(), quirks=frozenset(quirks)
    )
    refuses = discarding(Model(behaviour, mkfs.geometry_of, open_start), target)
    return lambda workload: refuses(on_path(workload, side.forced_path))


def discarding(model: Model, target: Signature) -> Refuses:
    """Discards what `model` does not cover, and what has no step in the situation of `target`:
    with its rules, or of its kind of operation if it has none.

    The model does not know here where the kernel puts blocks. What it can't predict for
    want of that is left to a real run, as are parallel sections, whose rules depend on the
    order of their calls.
    """
    wanted = (target.rules, target.op)

    def refuses(workload: Workload) -> bool:
        try:
            check_covered(workload)
        except NotModelledError:
            return True
        if wanted == NOWHERE or any(isinstance(op, Parallel) for op in workload.ops):
            return False
        try:
            steps = model.run(workload).steps
        except (NotModelledError, UsageError, MachineryError):
            return False
        words = (type(op).WORD for op in workload.ops)
        found = (situation(step.because, word) for step, word in zip(steps, words, strict=True))
        return wanted not in found

    return refuses


NOWHERE: tuple[tuple[str, ...], str] = ((), "")
"""The situation of a mismatch at the start or the end."""
