"""Signatures: which mismatches have the same cause.

A night of generated programs may meet one bug a thousand times, in other files, at other
offsets, on other configurations. Its signature is what stays the same: which field parts
first, how (`harness.kinds`), and in which situation: a rule of the model that only special
steps apply, or else the kind of operation. All else of the first diverging step is left
out, because it follows: where a block is reserved too many, the counters of the file system
are wrong too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from harness.comparison.content import PIECE
from harness.kinds import kind_of
from harness.specification import rule_noted
from harness.verdict import Mismatch, Verdict
from workloads.ops import Read
from workloads.writers import range_of, writers

__all__ = ["Signature", "bytes_of", "same", "signature_of", "situation", "telling"]

_LEADING = (
    "kernel", "log", "error", "fsck", "image", "exists", "result", "calls by thread", "size",
    "extents", "extents_error", "reserved", "disksize", "events", "disk_blocks", "blocks",
    "content", "dropped", "delalloc", "bfree", "bavail", "warnings",
)  # fmt: skip
"""Fields, those first that tell more of a cause; what is none of them comes after."""

ORDINARY = frozenset({
    "reserve.cluster", "map.allocate", "map.implied-cluster", "write.iomap.da-map",
    "write.iomap.get-blocks", "writeback.bh.convert", "writeback.iomap.map",
    "writeback.iomap.convert", "disksize.bh.at-writeback", "disksize.iomap", "disksize.eviction",
    "zero.eof", "zero.flush.iomap", "falloc.allocate", "falloc.zero-range", "falloc.punch",
    "falloc.collapse", "falloc.insert", "truncate.down", "truncate.up", "truncate.replace",
    "mmap.mkwrite.bh", "mmap.mkwrite.iomap", "dio.flow", "inline.write", "flags.set-immutable",
    "space.nonda", "remount.options", "shutdown.ordered", "parallel.order",
    "observe.unseen-place",
})  # fmt: skip
"""Rules that say what an operation always does, or what nobody could see of it: they tell no
more than its name does."""

COMMON = (
    "write.bh.fault", "write.iomap.fault", "write.bh.short-copy", "space.allocate",
    "write.bh.trim-after-error", "falloc.punch-past-eof", "write.iomap.punch",
    "write.iomap.reject", "write.bh.trim-after-short", "write.bh.no-bytes-past-eof",
    "limit.rlimit", "flags.open", "flags.operations", "space.retry", "quota.warnings",
    "writeback.bh.past-eof", "dio.alignment", "space.claim", "map.zeroout",
)  # fmt: skip
"""The other rules that more than one of 1000 steps of random programs applies, the commonest
first. Where a step applied several, the rarest says most of its situation."""

_KINDS = {
    "write": "pwrite append pwrite_fault pwritev rlimit_write user_write pwrite_osync"
    " pwrite_odsync",
    "copy": "copy_range sendfile splice",
    "store": "mwrite mwrite_in mwrite_msync",
    "writeback": "fsync fdatasync sync sync_range",
    "fzero": "fzero fzero_keep",
    "falloc": "falloc falloc_keep",
    "read": "pread seek",
}
_BECAME = {
    word: became
    for became, words in {
        "stored": "mwrite mwrite_in mwrite_msync",
        "zeroed": "fzero fzero_keep fpunch truncate otrunc falloc falloc_keep write_zeroes",
        "moved": "fcollapse finsert",
    }.items()
    for word in words.split()
}
"""What an operation makes of bytes, if it does not write them."""
_BYTE = re.compile(r"\(byte (\d+)\)")
_KIND = {word: kind for kind, words in _KINDS.items() for word in words.split()}


class Signature(msgspec.Struct, frozen=True):
    """What mismatches of one cause have in common; equal signatures, equal causes.

    `fields` is the field that parts first, `shape` how it differs, `rules` the rule of
    docs/semantics.md that tells most of the situation. Without such a rule `op` is the kind
    of operation; both are empty if the mismatch is at the end.
    """

    rules: tuple[str, ...]
    fields: tuple[str, ...]
    shape: tuple[str, ...]
    op: str

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same in every run and release of ext4diff that
        makes the same signature."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    @property
    def text(self) -> str:
        """The signature in a line."""
        differs = "; ".join(f"{f}: {s}" for f, s in zip(self.fields, self.shape, strict=True))
        where = f", {self.op}" if self.op else ""
        return f"{differs}{where}" + (f" ({', '.join(self.rules)})" if self.rules else "")


def signature_of(verdict: Verdict) -> Signature | None:
    """The signature of the first diverging step; None if `verdict` has no mismatch."""
    if not verdict.mismatches:
        return None
    first = min(verdict.headline, key=_rank)
    field = _bare(first.field)
    kind = kind_of(first.field, first.expected, first.actual) + _became(verdict, first)
    rules, op = situation(first.because, first.op.partition(" ")[0])
    return Signature(rules, (field,), (kind,), op)


def same(one: Signature | None, other: Signature | None) -> bool:
    """Whether both are of one cause; no mismatch is the same as no other one."""
    return one is not None and one == other


def situation(because: Iterable[str], word: str) -> tuple[tuple[str, ...], str]:
    """A signature's `rules` and `op` for a step of the operation `word` in which the model
    noted `because`."""
    rules = telling(because)
    return rules, "" if rules else _KIND.get(word, word)


def telling(because: Iterable[str]) -> tuple[str, ...]:
    """The id of the rule that tells most of a step's situation, by what the model noted there
    (`Step.because`); empty if it did nothing but what its operation always does."""
    rules = (rule_noted(note) for note in because)
    special = {rule.name for rule in rules if rule is not None} - ORDINARY
    return (max(special, key=_rarity),) if special else ()


def _rarity(rule: str) -> tuple[int, str]:
    return (COMMON.index(rule) if rule in COMMON else len(COMMON), rule)


def _became(verdict: Verdict, m: Mismatch) -> str:
    """Of bytes that differ what became of them last, empty for other fields.

    It stands for the rule of the operation that the bytes are from: the step in which they
    are read, or the end, applies none that could be to blame.
    """
    wanted = bytes_of(verdict, m)
    if wanted is None:
        return ""
    ops = verdict.workload.ops
    before = writers(ops[: m.place] if isinstance(m.place, int) else ops, wanted)
    if not before:
        return " where nothing was written"
    return f" where it was {_BECAME.get(ops[before[-1]].WORD, 'written')} last"


def bytes_of(verdict: Verdict, m: Mismatch) -> tuple[str, int, int] | None:
    """The file, the first byte and the one after the last of those that `m` says to be others;
    None if it is not about bytes."""
    match = _BYTE.search(m.field)
    if match is not None and m.file is not None:
        return m.file, int(match[1]), int(match[1]) + PIECE
    ops = verdict.workload.ops
    op = ops[m.place] if isinstance(m.place, int) and m.place < len(ops) else None
    return range_of(op) if isinstance(op, Read) and m.field == "result" else None


def _rank(m: Mismatch) -> tuple[int, str]:
    field = _bare(m.field)
    return (_LEADING.index(field) if field in _LEADING else len(_LEADING), field)


def _bare(field: str) -> str:
    """The field's name without block and thread: `content, 4096-byte block 3` is `content`."""
    field = field.partition(",")[0]
    return "result" if field.startswith("result of call") else field
