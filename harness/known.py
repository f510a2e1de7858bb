"""Known issues: what kernels are known to do wrong, and how a report may count it apart.

The strict model is the truth. A quirk (`model/behaviour.py`) makes it follow a kernel past
one of its bugs, so that the rest of the workload is still compared. Each entry here says
which kernels have the bug and when; `applicable` chooses by release and path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from workloads.ops import AnyOp, Op, Pwritev, WriteFault
from workloads.workload import Workload

__all__ = ["KNOWN_ISSUES", "KnownIssue", "applicable", "parse_release"]

Release = tuple[int, int]
"""Version and patch level of a kernel release: `7.3.4-cloud-amd64` is (7, 3)."""


class KnownIssue(msgspec.Struct, frozen=True):
    """A kernel bug that the model can follow.

    `quirk` is its name in `model/behaviour.py`. The bug is in kernels from release
    `since` on, up to but without `fixed` (None: in all later ones that were seen), on one
    `path`. `condition` says when it shows, `observable` what is then seen, `reason` why
    it is taken for a bug. Only workloads with an operation of `triggers` can meet it.
    """

    name: str
    quirk: str
    since: Release
    fixed: Release | None
    path: Literal["bh", "iomap"]
    triggers: tuple[type[Op], ...]
    condition: str
    observable: str
    reason: str

    def affects(self, release: str, workload: Workload) -> bool:
        """Whether a kernel of this release may show it on this workload."""
        version = parse_release(release)
        return (
            version is not None
            and self.since <= version
            and (self.fixed is None or version < self.fixed)
            and workload.config.path == self.path
            and _uses(workload.ops, self.triggers)
        )


KNOWN_ISSUES: tuple[KnownIssue, ...] = (
    KnownIssue(
        name="efault-beyond-eof-moves-size",
        quirk="efault_beyond_eof_moves_size",
        since=(7, 2),
        fixed=None,
        path="bh",
        triggers=(WriteFault, Pwritev),
        condition="a write beyond EOF fails with EFAULT before a byte was copied",
        observable="i_size moves to the write's offset, and the blocks that it reserved"
        " stay reserved until the inode is evicted",
        reason="ext4_da_do_write_end() and ext4_write_end() take the offset plus the zero"
        " bytes that were copied as the new size, and leave the failed write's blocks",
    ),
)
"""The list. An entry leaves it when no supported kernel has the bug any more."""


def parse_release(release: str) -> Release | None:
    """The first two numbers of a kernel release, None if it does not start with them."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else None


def applicable(
    release: str | None, workload: Workload, issues: Iterable[KnownIssue] = KNOWN_ISSUES
) -> tuple[KnownIssue, ...]:
    """The issues that a kernel of `release` may show on `workload`; none if it is unknown."""
    if release is None:
        return ()
    return tuple(issue for issue in issues if issue.affects(release, workload))


def _uses(ops: Sequence[AnyOp], kinds: tuple[type[Op], ...]) -> bool:
    return any(isinstance(op, kinds) for op in ops)
