"""What an intended difference is: between what it lies, where it shows, what follows.

The table is in `harness.differences.table`; `harness.against.settle` goes by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from harness.differences.moment import Moment, Shape
from harness.known_issue import parse_release
from workloads.ops import Op

__all__ = ["Difference", "Kinds", "Rules", "Sign", "applicable"]

Kinds = Literal["paths", "releases", "any"]
Rules = tuple[frozenset[str], frozenset[str]]
"""Rules of the model, of the first side and of the second."""


class Sign(msgspec.Struct, frozen=True):
    """Where an intended difference shows of itself: a field, and the shape of its values.

    `ops` are the kinds of steps in which it may (none: in any, and at the end), `rules`
    those of the model of which the first and the second side must have applied at least one
    in that step, or, if `earlier`, up to it (none: no such condition). A field that the
    model does not see is a sign only where `modelled` is False.
    """

    field: str
    shape: Shape
    ops: tuple[type[Op], ...] = ()
    rules: Rules = (frozenset(), frozenset())
    earlier: bool = False
    modelled: bool = True

    def shows(self, moment: Moment) -> bool:
        """Whether `moment` is such a place and looks like it."""
        applied = moment.history if self.earlier else moment.rules
        return (
            moment.field.split(",")[0] == self.field
            and (not self.ops or isinstance(moment.op, self.ops))
            and all(not need or need & had for need, had in zip(self.rules, applied, strict=True))
            and self.shape(moment)
        )


class Difference(msgspec.Struct, frozen=True):
    """One intended difference.

    It is between the two `paths` (first: buffer_head), or between `releases` of which only
    the second is `since` or later (both on `path`, if it is named), or `any` two runs; and
    only with one of the mount `options` if some are named. `situation` says when it shows,
    `first` and `second` what each side does then, `why`, and `source` where that is
    specified. `follows` are the fields that may differ in the same file afterwards because
    of it, or in any file if it reaches `everywhere`.
    """

    name: str
    situation: str
    first: str
    second: str
    why: str
    source: str
    signs: tuple[Sign, ...]
    follows: frozenset[str] = frozenset()
    everywhere: bool = False
    between: Kinds = "paths"
    since: tuple[int, int] | None = None
    path: Literal["bh", "iomap"] | None = None
    options: frozenset[str] = frozenset()

    def describes(self, moment: Moment, modelled: bool = True) -> bool:
        """Whether `moment`, of a field that the model sees or does not, is a sign of it."""
        if self.options and not self.options & moment.config.options:
            return False
        signs = (sign for sign in self.signs if modelled or not sign.modelled)
        return any(sign.shows(moment) for sign in signs)


def applicable(
    paths: tuple[str, str],
    kernels: tuple[str | None, str | None],
    entries: Iterable[Difference],
) -> tuple[tuple[Difference, ...], bool]:
    """The entries that lie between two sides, and whether these are in the other order.

    `paths` are the ones that regular files took, `kernels` the releases.
    """
    older, newer = (parse_release(kernel or "") for kernel in kernels)
    apart = paths[0] != paths[1]
    swapped = paths[0] == "iomap" if apart else bool(older and newer and newer < older)

    def lies_between(entry: Difference) -> bool:
        if entry.between != "releases":
            return apart or entry.between == "any"
        if apart or entry.since is None or older is None or newer is None:
            return False
        on_path = entry.path is None or entry.path == paths[0]
        return on_path and (older < entry.since) != (newer < entry.since)

    return tuple(filter(lies_between, entries)), swapped
