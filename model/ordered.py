"""Ordered data: what a commit writes before itself, and so is clean behind it (fs/jbd2/commit.c).

`Inode.order` notes what that is; here it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from model.revived import written_in_place
from model.units import PAGE, WRITTEN, mask, ranges, round_down, round_up

if TYPE_CHECKING:
    from model.folio import Folio
    from model.inode import Inode

__all__ = ["submit_folio", "write_ordered"]


def write_ordered(files: Iterable[Inode]) -> None:
    """A commit in ordered mode first writes the pages that the transaction holds of `files`
    (jbd2_submit_inode_data, ext4_normal_submit_inode_data_buffers)."""
    for inode in files:
        ordered, inode.ordered = inode.ordered, None
        if ordered is None or not inode.order_writes:
            continue
        low, high = round_down(ordered[0], PAGE), round_up(ordered[1], PAGE)
        for folio in inode.cache.dirty_folios(low, high):
            if folio.revived:
                written_in_place(inode, folio)
            inode.cache.clean(folio, _written_bits(inode, folio) | folio.dirty & folio.revived)
            submit_folio(inode, folio)
            inode.sb.rule("write ordered data: jbd2_submit_inode_data")


def submit_folio(inode: Inode, folio: Folio) -> None:
    """A folio that is submitted loses its mark, whatever of it is written (folio_end_writeback).
    The buffers past EOF are not written, but clean and uptodate from then on, delayed ones too
    (ext4_bio_write_folio). In a folio wholly past EOF those are it that are behind i_size modulo
    the folio's size (mpage_submit_folio)."""
    folio.marked = False
    if folio.end <= inode.size:
        return
    kept = inode.size % (folio.end - folio.start)
    behind = folio.all & ~inode.cache.bits(folio, folio.start, folio.start + kept)
    inode.cache.clean(folio, behind)
    if behind & ~(folio.uptodate | folio.uptodate_alone):
        inode.sb.rule("blocks past EOF: ext4_bio_write_folio")
    folio.uptodate_alone |= behind


def _written_bits(inode: Inode, folio: Folio) -> int:
    """The dirty blocks of `folio` that can be written without allocation."""
    first, bits = folio.first, 0
    for low, high in ranges(folio.dirty & ~(folio.delay | folio.unwritten)):
        for run in inode.es.pieces(first + low, first + high):
            if run.state == WRITTEN:
                bits |= mask(run.start - first, run.end - first)
    return bits
