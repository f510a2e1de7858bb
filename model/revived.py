"""What ZERO_RANGE past EOF makes of the block that holds EOF (`ext4_zero_range`).

The page cache of the range goes first. Then the block that holds EOF, if the range covers it,
is read back to zero what is behind EOF, and only then all blocks become unwritten. So its old
bytes are in the page cache again, and on the buffer_head path under a buffer that is mapped as
if the block were written still: a known bug (`zero_range_revives_eof_block`).
"""

from __future__ import annotations

from functools import partial

from model.folio import Folio
from model.inode import Inode
from model.truncate import block_zero_eof
from model.units import PAGE, WRITTEN, ranges

__all__ = ["Found", "is_stuck", "revive", "revive_block", "written_in_place",
           "zero_whole_blocks"]  # fmt: skip

Found = tuple[bytes | None, str | None]
"""What is on disk of a block, nothing if that is not known, and the known bug that it is of."""


def zero_whole_blocks(inode: Inode, low: int, high: int, eof: Found | None) -> Found | None:
    """Zero blocks `[low, high)`, which have just left the page cache; if the file grows, the rest
    of the block that holds EOF too (ext4_alloc_file_blocks), of which `eof` is on disk.

    Returns what of that block is in the page cache again, if the block was written.
    """
    block, size = inode.size // inode.sb.block_size, inode.sb.block_size
    revives = (
        eof is not None
        and inode.size % size != 0
        and low <= block < high
        and inode.es.lookup(block).state == WRITTEN
    )
    cached = revives and _bit_of(inode, block)[1]
    if eof is not None:
        block_zero_eof(inode, inode.size)
    inode.content.zero(low * size, high * size)
    if inode.unsaved:
        inode.saved(low, high)
    return (b"", None) if cached else eof if revives else None


def _bit_of(inode: Inode, block: int) -> tuple[int, bool]:
    """The bit of `block` in its folio, and whether the folio holds it uptodate."""
    folio = inode.cache.get(block * inode.sb.block_size // PAGE)
    if folio is None:
        return 0, False
    bit = 1 << (block - folio.first)
    return bit, bool((folio.uptodate | folio.uptodate_alone) & bit)


def revive_block(inode: Inode, block: int, found: Found, *, unwritten: bool) -> None:
    """`block` is back in the page cache as it was `found` on disk, but for its tail; by now it is
    `unwritten`, or the range did not come to it for want of space (ext4_zero_range).

    As it should be, an unwritten one is clean and zero, and what is written there later is
    converted.
    """
    start = block * inode.sb.block_size
    folio = inode.cache.get(start // PAGE)
    assert folio is not None, "just zeroed in part"
    bit = _bit_of(inode, block)[0]
    data, bug = found
    harmless = inode.iomap and data == b""
    if unwritten and (harmless or not inode.sb.quirk("zero_range_revives_eof_block")):
        inode.cache.clean(folio, bit)
        folio.mapped &= ~bit
        return
    if bug is not None:
        inode.sb.quirk(bug)
    if data is None:
        inode.content.lose(start, inode.size)
    else:
        inode.content.write(start, data[: inode.size - start])
    if unwritten:
        revive(inode, folio, bit)
    else:
        inode.saved(block, block + 1)


def revive(inode: Inode, folio: Folio, bits: int) -> None:
    """What blocks `bits` of the folio hold is not on disk, and goes with the folio."""
    folio.revived |= bits
    inode.cache.on_drop = partial(_forget, inode)


def _forget(inode: Inode, folio: Folio) -> None:
    """A folio is dropped: what is on disk shows again, zeros where blocks are unwritten. On
    the iomap path what was written to such a block since has converted it."""
    size, first = inode.sb.block_size, folio.first
    for low, high in ranges(folio.revived):
        for run in inode.es.pieces(first + low, first + high):
            if run.state != WRITTEN or not inode.iomap:
                inode.content.zero(run.start * size, run.end * size)


def is_stuck(inode: Inode, block: int) -> bool:
    """Whether the buffer of `block` is mapped as if the block were written."""
    folio = inode.cache.get(block * inode.sb.block_size // PAGE)
    if folio is None or not folio.revived:
        return False
    return bool((folio.mapped & folio.revived) >> (block - folio.first) & 1)


def written_in_place(inode: Inode, folio: Folio) -> None:
    """Dirty blocks of the folio go to disk as they are: that is lost where they are unwritten,
    but holds where they have become written since (ext4_bio_write_folio)."""
    first = folio.first
    for low, high in ranges(folio.dirty & folio.revived):
        for run in inode.es.pieces(first + low, first + high):
            if run.state == WRITTEN:
                folio.revived &= ~(((1 << (run.end - run.start)) - 1) << (run.start - first))
