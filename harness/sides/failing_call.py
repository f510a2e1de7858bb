"""An allocation, a request to the disk or a call of a function that fails in a workload.

The kernel's own fault injection lets the N-th of them fail that the operations come to (`ext4diff
run --fail-nth`); `vm/agent/injection.py` sets it up. Nothing else fails afterwards: an operation
may return an error or find a way around it, but what it had reserved has to be given back.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.errors import UsageError
from harness.sides.failing import Failing, Failure
from harness.sides.side import Choice
from harness.trace import Complaint, ComplaintKind
from vm.guest import Guest

__all__ = ["CALL", "FailingCall", "Nth"]

_SPEC = re.compile(r"(?:(?P<kind>[A-Za-z_][\w.]*):)?(?P<nth>[1-9]\d{0,8})")
_OF_THE_CALL = (
    ComplaintKind.EXT4, ComplaintKind.EXT4_ERROR, ComplaintKind.EXT4_WARNING,
    ComplaintKind.INJECTED, ComplaintKind.IO, ComplaintKind.JBD2,
)  # fmt: skip
"""Complaints that a failing call brings about on a kernel without bugs."""
_OF_MEMORY = re.compile(
    r"page allocation failure|SLUB: unable|EXT4-fs: ext4_do_writepages: jbd2_st"
)
"""The same, of kinds that have others, too; ext4_do_writepages() says at KERN_CRIT that it has got
no handle."""
_KEPT = re.compile(r"not cleared|reserved.data.blocks")
"""Blocks stay reserved for a file that is gone: no failure excuses that."""
_WORDS = {"alloc": "allocation of memory", "request": "request to the disk"}


class Nth(NamedTuple):
    """Which call fails: the `nth` of `kind`, `alloc`, `request` or the name of a function."""

    kind: str
    nth: int

    @classmethod
    def parse(cls, text: str) -> Nth:
        """From what the user wrote, `[KIND:]N`. Raises `UsageError`."""
        found = _SPEC.fullmatch(text)
        if found is None:
            raise UsageError(
                f"--fail-nth {text}: give N, or KIND:N, with alloc (the default), request or a"
                " function of the kernel as KIND, and N from 1 on"
            )
        return cls(found["kind"] or "alloc", int(found["nth"]))

    def __str__(self) -> str:
        return f"{_WORDS.get(self.kind, f'call of {self.kind}()')} number {self.nth}"


class _Call(Failure):
    """Something that the kernel has let fail."""

    reason = "a call was made to fail"

    def tells(self, complaint: Complaint) -> bool:
        """The words of the kernel's fault injection."""
        return complaint.kind is ComplaintKind.INJECTED

    def excuses(self, complaint: Complaint) -> bool:
        """What ext4, jbd2, the block layer and the allocators say, but for blocks that stay
        reserved."""
        if _KEPT.search(complaint.title):
            return False
        return complaint.kind in _OF_THE_CALL or _OF_MEMORY.match(complaint.title) is not None

    def told(self, said: Complaint, place: str) -> str:
        """What failed."""
        return f"{said.title} {place}"


CALL = _Call()


class FailingCall(Failing):
    """A kernel in a guest in which `nth` fails."""

    failure = CALL

    def __init__(self, choice: Choice, nth: Nth) -> None:
        super().__init__(choice)
        self.nth = nth

    def _started(self, cpus: int) -> Guest:
        guest = super()._started(cpus)
        kind, nth = self.nth
        request = {"cmd": "fail", "kind": kind, "nth": nth}
        said = guest.ask(request, guest.deadlines.step, "setting up fault injection")["done"]
        if said:
            guest.close()
            raise UsageError(
                f"--fail-nth {kind}:{nth}: this kernel can't let that fail: {said};"
                " docs/seeded-bugs.md has what it has to be built with"
            )
        return guest

    def header(self) -> list[str]:
        """Also what fails."""
        return [*super().header(), f"{self.nth} fails"]
