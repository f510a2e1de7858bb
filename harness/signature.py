"""Signatures: which mismatches have the same cause.

A night of generated programs may meet one bug a thousand times, in other files, at other
offsets, on other configurations. Its signature is what stays the same: which field parts
first, how (`harness.kinds`), in what kind of operation, and which rule of the model speaks
of it. Everything else of the first diverging step is left out, because it follows: where a
block is reserved too many, the counters of the file system are wrong too.
"""

from __future__ import annotations

import hashlib

import msgspec

from harness.kinds import kind_of
from harness.verdict import Mismatch, Verdict

__all__ = ["Signature", "same", "signature_of", "telling"]

_LEADING = (
    "kernel", "log", "error", "fsck", "image", "exists", "result", "calls by thread", "size",
    "extents", "extents_error", "reserved", "disksize", "events", "disk_blocks", "blocks",
    "content", "dropped", "delalloc", "bfree", "bavail", "warnings",
)  # fmt: skip
"""Fields, those first that tell more of a cause; what is none of them comes after."""

_ORDINARY = frozenset({
    "allocate: ext4_map_blocks", "allocate unwritten: ext4_iomap_get_blocks",
    "allocate delayed extent: ext4_iomap_map_one_extent", "convert: ext4_iomap_finish_ioend",
    "convert: ext4_convert_unwritten_io_end_vec", "disksize after I/O: ext4_iomap_finish_ioend",
    "disksize after submission: mpage_map_and_submit_extent", "flush: ext4_alloc_da_blocks",
    "reserve in one step: ext4_da_map_blocks", "shared cluster: ext4_clu_alloc_state",
    "release at eviction: ext4_clear_inode",
})  # fmt: skip
"""Rules of which nearly any step applies some: they tell only where no other does."""

_KINDS = {
    "write": "pwrite append pwrite_fault pwritev rlimit_write user_write pwrite_osync"
    " pwrite_odsync copy_range sendfile splice",
    "store": "mwrite mwrite_in mwrite_msync",
    "writeback": "fsync fdatasync sync sync_range",
    "fzero": "fzero fzero_keep",
    "falloc": "falloc falloc_keep",
    "read": "pread seek",
}
_KIND = {word: kind for kind, words in _KINDS.items() for word in words.split()}


class Signature(msgspec.Struct, frozen=True):
    """What mismatches of one cause have in common; equal signatures, equal causes.

    `fields` is the field that parts first, `shape` how it differs, `rules` what the model
    says it applied there and `op` the kind of operation; the last two are empty if the
    mismatch is at the end.
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
        where = f" in {self.op}" if self.op else ""
        return f"{differs}{where}" + (f" ({'; '.join(self.rules)})" if self.rules else "")


def signature_of(verdict: Verdict) -> Signature | None:
    """The signature of the first diverging step; None if `verdict` has no mismatch."""
    if not verdict.mismatches:
        return None
    first = min(verdict.headline, key=_rank)
    field = _bare(first.field)
    kind = kind_of(first.field, first.expected, first.actual)
    word = first.op.partition(" ")[0]
    return Signature(telling(first.because), (field,), (kind,), _KIND.get(word, word))


def same(one: Signature | None, other: Signature | None) -> bool:
    """Whether both are of one cause; no mismatch is the same as no other one."""
    return one is not None and one == other


def telling(because: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the rules that a step applied which tell most of it, sorted."""
    rules = tuple(rule for rule in because if rule not in _ORDINARY)
    return tuple(sorted(rules or because))


def _rank(m: Mismatch) -> tuple[int, str]:
    field = _bare(m.field)
    return (_LEADING.index(field) if field in _LEADING else len(_LEADING), field)


def _bare(field: str) -> str:
    """The field's name without block and thread: `content, 4096-byte block 3` is `content`."""
    field = field.partition(",")[0]
    return "result" if field.startswith("result of call") else field
