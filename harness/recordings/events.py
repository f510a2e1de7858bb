"""Tracepoints of recordings: a line that the kernel printed, and whose inode number it has.

Inode numbers are not recorded beside names; they are recovered from ext4's rule for new inodes.
"""

from __future__ import annotations

import re
from collections.abc import Set

from harness.trace import Event, EventKind
from workloads.ops import AnyOp, CopyRange, FileOp, Rename, Sendfile, Splice, Unlink

__all__ = ["InodeNumbers", "parse_event"]

FIRST_INODE = 12  # 11 is lost+found

_EVENT = re.compile(
    r"ext4_da_(?P<kind>reserve|release|update_reserve)_space: dev \d+,\d+ ino (?P<ino>\d+) "
    r".*?(?:reserve_blocks|freed_blocks|used_blocks) (?P<count>\d+) ?"
    r"reserved_data_blocks (?P<reserved>\d+)(?: .*?quota_claim (?P<claim>\d+))?"
)


def _named(op: AnyOp) -> list[str]:
    """The files that `op` opens, in its order."""
    names = [op.file] if isinstance(op, FileOp) else []
    return [*names, op.to] if isinstance(op, CopyRange | Sendfile | Splice) else names


class InodeNumbers:
    """Which name holds which inode number: ext4 gives a new file the lowest free one.

    Without a journal it sometimes passes over a number that was just freed
    (`recently_deleted()` in `fs/ext4/ialloc.c`); such events keep the name `ino N`.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._used: set[int] = set()

    def before(self, op: AnyOp, after: Set[str]) -> dict[int, str]:
        """Names by number while `op` runs; `after` holds the names that exist afterwards."""
        if not isinstance(op, Unlink | Rename):
            for name in _named(op):
                if name in after:
                    self._open(name)
        return {number: name for name, number in self._by_name.items()}

    def after(self, op: AnyOp, after: Set[str]) -> None:
        """Take note of the names that `op` removed or moved."""
        moved = self._by_name.get(op.file) if isinstance(op, Rename) else None
        if isinstance(op, Rename) and moved is not None and op.file not in after:
            self._free(op.to)
            self._by_name[op.to] = self._by_name.pop(op.file)
        for name in self._by_name.keys() - after:
            self._free(name)

    def _open(self, name: str) -> None:
        if name not in self._by_name:
            number = FIRST_INODE
            while number in self._used:
                number += 1
            self._by_name[name] = number
            self._used.add(number)

    def _free(self, name: str) -> None:
        number = self._by_name.pop(name, None)
        if number is not None:
            self._used.discard(number)


def parse_event(line: str, names: dict[int, str]) -> Event:
    """A reservation tracepoint's printed text; ValueError if it is none."""
    match = _EVENT.search(line)
    if match is None:
        raise ValueError(f"not a reservation tracepoint: {line!r}")
    number = int(match["ino"])
    return Event(
        kind=EventKind(match["kind"]),
        file=names.get(number, f"ino {number}"),
        count=int(match["count"]),
        reserved=int(match["reserved"]),
        claim=None if match["claim"] is None else match["claim"] == "1",
    )
