"""Writeback through buffer heads (`ext4_do_writepages`, mpage_*, fs/ext4/page-io.c).

Only dirty blocks below EOF are gathered; delayed ones are allocated, unwritten where
dioread_nolock applies, and become written when the I/O has ended.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial

import msgspec

from harness.errors import NotModelledError
from model.balloc import commit_for_writeback, commit_may_free_some
from model.errors import OpError
from model.extent_status import Run
from model.folio import Folio
from model.inode import Inode
from model.io_end import (
    convert_written,
    first_to_end,
    may_be_lost,
    may_end_early,
    note_order,
    outcomes,
    take_turns,
)
from model.journal_credits import most_waiting
from model.map_blocks import map_blocks
from model.ordered import submit_folio
from model.revived import revive, written_in_place
from model.tree_claim import conversion_room
from model.units import DELAYED, UNWRITTEN, ranges
from model.writeback_gather import Buffers, gather, need_mapping

__all__ = ["cyclic_writepages", "writepages"]


class _Mapped(msgspec.Struct, gc=False):
    """What became of the extents of one pass, before which the file had `tree_blocks`: I/Os by the
    unwritten blocks that they have written, less those that ended `early`, blocks that could not be
    had, and those that were `skipped`, with the folio that holds them."""

    tree_blocks: int
    early: int = 0
    ios: list[list[tuple[int, int]]] = []
    lost: list[tuple[int, int]] = []
    skipped: list[tuple[int, int]] = []


def writepages(inode: Inode, start: int = 0, end: int | None = None) -> None:
    """Write the dirty folios that bytes `[start, end)` touch (ext4_do_writepages)."""
    reached = _write_range(inode, start, end)
    if reached is not None and start == 0 and end is None:
        inode.writeback_start = reached


def cyclic_writepages(inode: Inode) -> None:
    """Write the whole file, from where the last such writeback ended to the end and then
    from the start (`range_cyclic`)."""
    start = inode.writeback_start
    if not start:
        writepages(inode)
        return
    if inode.cache.dirty:
        inode.sb.rule("cyclic writeback: ext4_do_writepages")
        _write_range(inode, start, None)
        inode.writeback_start = _write_range(inode, 0, start) or 0


def _write_range(inode: Inode, start: int, end: int | None) -> int | None:
    """One pass; returns the byte that it reached, None if nothing was dirty."""
    cache = inode.cache
    dirty = cache.dirty_folios(start, end)
    if inode.sb.io_waits and inode.sb.passed_over:
        dirty = [folio for folio in dirty if folio not in inode.sb.passed_over]
    if not dirty:
        return None
    folios, eof = [folio for folio in dirty if folio.start < inode.size], inode.eof_block
    needy = [buffers for folio in folios for buffers in need_mapping(inode, folio, eof)]
    if inode.unsaved:
        for folio in folios:
            for low, high in ranges(folio.dirty):
                inode.saved(folio.first + low, folio.first + high)
    mapped = _map_all(inode, needy)
    for folio in folios:
        if folio.revived:
            written_in_place(inode, folio)
        if folio.delay or folio.unwritten:
            taken = folio.dirty & cache.bits(folio, folio.start, inode.size)
            folio.delay &= ~taken
            folio.unwritten &= ~taken
        _submit(inode, folio)
    reached = folios[-1].end if folios else dirty[0].start
    ends = bool(folios) and folios[-1].first + folios[-1].count >= eof and not inode.sb.data_journal
    if len(folios) < len(dirty) and not ends:
        _clean_past_eof(inode, dirty[len(folios)])
        reached = dirty[len(folios)].end
    for low, high in mapped.lost:
        _lose(inode, low, high)
        needy = [buffers for buffers in needy if not low <= buffers.start < high]
    for low, high in mapped.skipped:
        _stay_dirty(inode, low, high)
        needy = [buffers for buffers in needy if buffers.folio_end != high]
    if needy:
        _update_disksize(inode, needy[-1].folio_end * inode.sb.block_size)
    _submitted(inode, mapped.ios)
    return reached


def _stay_dirty(inode: Inode, low: int, high: int) -> None:
    """Blocks `[low, high)`, which end a folio, still wait for writeback: it found the folio under
    I/O, and did not wait for that (mpage_prepare_extent_to_map)."""
    size, cache = inode.sb.block_size, inode.cache
    for folio in cache.overlapping(low * size, high * size):
        bits = cache.bits(folio, low * size, min(high * size, inode.size))
        cache.mark_dirty(folio, bits & folio.mapped)
        folio.delay |= bits & folio.mapped


def _submitted(inode: Inode, ended: list[list[tuple[int, int]]]) -> None:
    """These I/Os are under way."""
    if ended:
        inode.sb.after_io(partial(_end_io, inode, ended))


def _end_io(inode: Inode, ended: list[list[tuple[int, int]]]) -> None:
    """What each I/O has written is converted, extent by extent (ext4_end_io_rsv_work). I/Os may
    end in another order than that of their submission."""
    ends = outcomes(inode, ended)
    lost = may_be_lost(inode, ends)
    for io in take_turns(inode, ended, ends):
        for at, (low, high) in enumerate(io):
            reached = convert_written(inode, low, high)
            if reached < high:
                _stay_unwritten(inode, [(reached, high), *io[at + 1 :]])
                break
    inode.unsaved += lost
    if len(ended) > 1:
        last = [io[-1][1] - 1 for io in ended]
        cache = inode.cache
        inode.sb.workers_hold(cache, [cache.get(block // cache.per_page) for block in last])
    inode.sb.rule("convert: ext4_convert_unwritten_io_end_vec")


def _stay_unwritten(inode: Inode, extents: list[tuple[int, int]]) -> None:
    """The conversion of these blocks failed, of which nobody hears (ext4_end_io_end). Their
    buffers are mapped as if they were written."""
    size = inode.sb.block_size
    for low, high in extents:
        for folio in inode.cache.overlapping(low * size, high * size):
            revive(inode, folio, inode.cache.bits(folio, low * size, high * size))


def _submit(inode: Inode, folio: Folio) -> None:
    """All blocks of `folio` are clean then; those past EOF, which are not written, count as
    uptodate (ext4_bio_write_folio)."""
    inode.cache.clean(folio, folio.all)
    submit_folio(inode, folio)


def _clean_past_eof(inode: Inode, folio: Folio) -> None:
    """The first folio wholly past EOF ends the walk, unless a dirty one that holds the last block
    before EOF did so already (mpage_process_page_bufs)."""
    submit_folio(inode, folio)
    inode.sb.rule("folio past EOF: ext4_bio_write_folio")


def _lose(inode: Inode, low: int, high: int) -> None:
    """Blocks `[low, high)` could not be allocated: they are forgotten, folio by folio
    (mpage_release_unused_pages)."""
    size = inode.sb.block_size
    for folio in list(inode.cache.overlapping(low * size, high * size)):
        first = folio.first
        if any(run.state != DELAYED for run in inode.es.overlapping(first, first + folio.count)):
            raise NotModelledError("blocks are lost in a folio of which others are allocated")
        inode.remove_status(first, first + folio.count)
        inode.content.zero(folio.start, folio.end)
        inode.cache.forget(folio)
    inode.sb.rule("blocks lost: mpage_release_unused_pages")


def _map_all(inode: Inode, needy: list[Buffers]) -> _Mapped:
    """Gather extents and map them.

    When a mapping ends inside a folio, the next extent is gathered from the rest of that
    folio alone (mpage_process_folio), but anew if a commit had to free blocks for it
    (mpage_submit_partial_folio).
    """
    starts = [buffers.start for buffers in needy]
    done, most = _Mapped(inode.tree_blocks), most_waiting(inode.sb)
    at, within = 0, None
    while True:
        extent = gather(needy, starts, at, within)
        if extent is None:
            if within is None:
                return done
            at, within = within, None
            continue
        if within is None and most is not None:
            _wait_for_credits(inode, done, most)
        low, high = extent
        try:
            run = map_blocks(
                inode, low, high - low, unwritten=inode.sb.dioread_nolock, use_reserved=True
            )
        except OpError:
            if commit_may_free_some(inode.sb):
                at, within = _commit(inode, low, within, done), None
                continue
            done.lost.append(extent)
            at, within = high, None
            continue
        if run.state == UNWRITTEN:
            _add_to_io(done.ios, run, within is None)
        at = run.end
        holder = needy[bisect_right(starts, at - 1) - 1]
        within = holder.folio_end if at < holder.folio_end else None


def _wait_for_credits(inode: Inode, done: _Mapped, most: int) -> None:
    """The next extent is to be mapped. Who writes back waits where `most` I/Os have reserved
    credits of the journal, until one of them does no more (add_transaction_credits).

    A task of a real-time class goes on when the worker has begun to convert it, and that ends when
    it waits again; otherwise the worker converts all of them first.
    """
    sb = inode.sb
    all_at_once = sb.by_flusher or not sb.behaviour.waker_preempted
    if len(done.ios) < max(most + (not all_at_once), 1) or not may_end_early(inode):
        return
    if all_at_once:
        ended, done.ios = done.ios, []
    else:
        ended = [done.ios.pop(first_to_end(inode, most, done.early))]
        done.early += 1
    _end_io(inode, ended)
    note_order(inode, done.tree_blocks)


def _commit(inode: Inode, low: int, within: int | None, done: _Mapped) -> int:
    """Commit to find space for block `low`; returns the block to go on at.

    What has been submitted is written and converted meanwhile, or, should the I/O take longer than
    the commit, behind it, which shows where no tree block is to be had before. With low space
    nobody waits for it, so if it was part of the folio that ends before block `within`, the rest of
    it is skipped then.
    """
    sb, waits = inode.sb, inode.sb.io_waits
    _update_disksize(inode, low * sb.block_size)
    sb.io_waits = waits or sb.crashes
    if not _ends_late(inode, done.ios):
        _submitted(inode, done.ios)
        done.ios = []
    commit_for_writeback(sb)
    sb.io_waits = waits
    if not sb.io_waits or within is None:
        return low
    sb.rule("part of a folio submitted: mpage_submit_partial_folio")
    if not sb.placer.late:
        return low
    done.skipped.append((low, within))
    sb.passed_over += inode.cache.overlapping(low * sb.block_size, within * sb.block_size)
    return within


def _ends_late(inode: Inode, ios: list[list[tuple[int, int]]]) -> bool:
    """Whether these I/Os are supposed to end behind the commit that is next, if that shows, and not
    what a crash has of it (`Mount.commit`)."""
    if not ios or inode.sb.crashes or inode.tree_unknown is not None:
        return False
    if conversion_room(inode) is None:
        return False
    inode.sb.rule("conversion beside a commit: ext4_end_io_rsv_work")
    return inode.sb.placer.late


def _add_to_io(ended: list[list[tuple[int, int]]], run: Run, new: bool) -> None:
    """Blocks `run` will be written by a `new` I/O, or by the last one; those that follow each
    other are converted together (ext4_alloc_io_end_vec)."""
    if new or not ended:
        ended.append([(run.start, run.end)])
    elif ended[-1][-1][1] == run.start:
        ended[-1][-1] = ended[-1][-1][0], run.end
    else:
        ended[-1].append((run.start, run.end))


def _update_disksize(inode: Inode, end: int) -> None:
    """i_disksize follows up to the end of the last folio that was mapped, before the I/O
    is done (mpage_map_and_submit_extent)."""
    size = min(end, inode.size)
    if size > inode.disksize:
        inode.disksize = size
        inode.sb.rule("disksize after submission: mpage_map_and_submit_extent")
