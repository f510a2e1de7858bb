"""What entries of the table share: kinds of operations, fields, rules of the model."""

from __future__ import annotations

from harness.differences.intended import Rules
from harness.trace import State
from workloads.ops import (
    Append,
    Collapse,
    CopyRange,
    DioWrite,
    DsyncWrite,
    Insert,
    MmapIn,
    MmapWrite,
    MsyncWrite,
    Op,
    Pwritev,
    RlimitWrite,
    Sendfile,
    Splice,
    SyncRange,
    SyncWrite,
    UserWrite,
    Write,
    WriteFault,
)  # fmt: skip

__all__ = [
    "ALLOCATE", "ANEW", "BUSY", "CLEAN", "CONTENT", "CUT", "CYCLIC", "DATA", "DROPS", "EOF",
    "FAULT", "FLUSHES", "FOLIO", "IN_VAIN", "IOEND", "KEPT", "LACK", "LOW", "NEW",
    "NO_SPACE", "ORDERED", "PAST_EOF", "PUNCH", "REFUSED", "SHUT", "SMALL_FOLIO", "SPACE", "SPLIT",
    "STORES", "TREE_REFUSED", "TRIM", "WRITEBACK", "WRITES", "ZERO",
    "ZEROED", "ZEROOUT", "D", "U", "W", "rules",
]  # fmt: skip

WRITES: tuple[type[Op], ...] = (
    Append, CopyRange, DsyncWrite, Pwritev, RlimitWrite, Sendfile, Splice, SyncWrite,
    UserWrite, Write, WriteFault,
)  # fmt: skip
STORES: tuple[type[Op], ...] = (MmapIn, MmapWrite, MsyncWrite)
FLUSHES: tuple[type[Op], ...] = (
    Collapse, DioWrite, DsyncWrite, Insert, MsyncWrite, SyncRange, SyncWrite,
)  # fmt: skip
"""What writes back a part of a file, and so whole folios."""

SPACE = frozenset({
    "extents", "blocks", "disk_blocks", "disk_blocks on disk", "reserved", "delalloc", "bfree",
    "bavail", "events",
})  # fmt: skip
"""Fields that say which blocks there are and in which state, but nothing of sizes or data."""
CONTENT = frozenset({"content", "content sha256", "dropped", "dropped sha256"})
"""Fields that say which data there is, but not how much."""
DATA = SPACE | CONTENT | {"result", "size", "disksize", "content size", "dropped size"}
"""Fields that say also how far a write came."""
D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN

NEW = "reserve in one step: ext4_da_map_blocks"
FOLIO = "map whole folio: iomap_page_mkwrite"
PUNCH = "punch stale range: ext4_iomap_buffered_da_write_end"
ALLOCATE = "allocate unwritten: ext4_iomap_get_blocks"
LOW = ("low-space switch: ext4_nonda_switch", "low-space writeback: ext4_nonda_switch")
WRITEBACK = "allocate delayed extent: ext4_iomap_map_one_extent"
BUSY = "direct write meets dirty pages: kiocb_invalidate_pages"
REFUSED = "direct write not aligned: iomap_dio_bio_iter"
EOF = "write zeroed EOF block: ext4_block_zero_eof"
ANEW = "zero clean delayed block: iomap_zero_iter"
ZERO = "zero range: ext4_zero_range"
ZEROOUT = "zeroout: ext4_ext_convert_to_initialized"
CLEAN = "zero clean unwritten block: iomap_zero_iter"
ZEROED = "zero EOF block: ext4_block_zero_eof"
CUT = "truncate down: ext4_truncate"
CYCLIC = "cyclic writeback: ext4_do_writepages"
PAST_EOF = "blocks past EOF: ext4_bio_write_folio"
IN_VAIN = "nothing to zero: ext4_load_tail_bh"
SMALL_FOLIO = "folio within its mapping: iomap_get_folio"
DROPS = (CUT, ZERO, "punch: ext4_punch_hole")
SHUT = "shut down: ext4_force_shutdown"
ORDERED = "write ordered data: jbd2_submit_inode_data"
FAULT = "fault: iomap_write_iter"
IOEND = "convert: ext4_iomap_finish_ioend"
NO_SPACE = (
    "claim/no-space: ext4_claim_free_clusters",
    "allocate/no-space: ext4_mb_new_blocks",
    "reserve/quota: ext4_da_reserve_space",
    "allocate/quota: ext4_mb_new_blocks",
)
KEPT = "short copy keeps new blocks: folio_zero_new_buffers"
TREE_REFUSED = "tree block refused: ext4_ext_new_meta_block"
LACK = (*NO_SPACE, TREE_REFUSED)
"""No block is to be had, for data or for the extent tree."""
SPLIT = (TREE_REFUSED, "quota warning: prepare_warning")
TRIM = (
    "trim past EOF: ext4_truncate_failed_write",
    "write_end/short-copy past EOF: ext4_write_end",
)


def rules(first: tuple[str, ...] = (), second: tuple[str, ...] = ()) -> Rules:
    """Rules of the model of which each side must have applied at least one, if any are named."""
    return frozenset(first), frozenset(second)
