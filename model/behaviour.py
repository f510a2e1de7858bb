"""Behaviour: every switch on which the model's answer depends, in one place.

Kernels, configurations and the state of the iomap series differ in few ways that can be
observed. Each is a field here with its reason; the model asks the field, never a version.
Known kernel bugs are `Quirk`s: off unless `Behaviour.quirks` names them.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

import msgspec

__all__ = ["QUIRKS", "Behaviour", "Quirk"]

MIB = 1024 * 1024
_RELEASE = re.compile(r"(\d+)\.(\d+)")


class Quirk(msgspec.Struct, frozen=True):
    """A known kernel bug that the model can follow.

    `observable` is what differs from the strict model, `source` where the bug is. One that shows
    only behind what another one leaves `follows` that.
    """

    name: str
    observable: str
    source: str
    follows: str = ""


QUIRKS: dict[str, Quirk] = {
    quirk.name: quirk
    for quirk in (
        Quirk(
            "efault_beyond_eof_moves_size",
            "A write past EOF that copies nothing moves i_size up to its offset.",
            "ext4_da_do_write_end, ext4_write_end: pos + 0 is taken for the new size",
        ),
        Quirk(
            "stale_folio_after_short_copy",
            "After an unaligned short copy the rest of the folio is stale memory.",
            "__iomap_write_begin of 7.2 marks the range uptodate before the copy",
        ),
        Quirk(
            "inline_conversion_undone",
            "What was written to the first block of a file that held its data inline is gone "
            "after umount, if truncate, fallocate or a store through a mapping gave it the block.",
            "ext4_convert_inline_data_nolock writes the block through the journal as metadata; "
            "nothing forgets it there, so a later checkpoint undoes file data written over it",
        ),
        Quirk(
            "inline_conversion_reads_stale",
            "A file whose inline data moved to a block while it was not in the page cache is read, "
            "and written, as what was on disk there, until the journal's copy is on disk.",
            "ext4_convert_inline_data_nolock puts the data into the device's page cache; reads of "
            "the file go to the disk",
        ),
        Quirk(
            "converted_block_outlives_file",
            "A block that inline data had moved to was freed, and what the file that got it next "
            "has written there is gone: the old data is back.",
            "ext4_free_blocks forgets no blocks of regular files: the journal's copy of the block "
            "is written to its place, or replayed, when another file has it",
        ),
        Quirk(
            "inline_growth_not_journalled",
            "With data=journal, data that leaves the inode for a block because a write does not "
            "fit is lost in a crash, synced or not, until writeback.",
            "ext4_convert_inline_data_to_extent dirties the block with block_commit_write, past "
            "the journal that has the inode without the data",
        ),
        Quirk(
            "failed_truncate_marks_errors",
            "A truncate that finds no block for data to leave the inode notes an error in the "
            "superblock, as if the file system were damaged.",
            "ext4_setattr gives any error to ext4_std_error, that of ext4_convert_inline_data too",
        ),
        Quirk(
            "failed_conversion_breaks_checksum",
            "A fallocate, truncate or store that finds no block for data to leave the inode leaves "
            "the inode with a wrong checksum: the file can't be opened once it has left memory.",
            "ext4_restore_inline_data writes the data into the inode after ext4_create_inline_data "
            "has computed the checksum",
        ),
        Quirk(
            "inline_overwrite_not_synced",
            "After a crash what fdatasync or O_DSYNC had written over inline data is gone.",
            "ext4_do_update_inode: overwriting inline data does not move i_datasync_tid on, so "
            "ext4_fsync_journal has nothing to commit",
        ),
        Quirk(
            "inline_data_lost_without_space",
            "After a write that outgrows the inode and finds no space, what was inline is gone "
            "once the page cache is dropped.",
            "ext4_convert_inline_data_to_extent: the data leaves the inode before a block is had",
        ),
        Quirk(
            "reserved_blocks_run_out",
            "On a full file system delayed blocks are lost at writeback, and fsync says nothing.",
            "ext4_new_meta_blocks: tree blocks of delayed blocks are not claimed, so that they use "
            "up what others have reserved; ext4_do_writepages forgets the error",
        ),
        Quirk(
            "conversion_zeroes_other_writes",
            "With no space for a tree block what fsync has made durable may be zeros on disk.",
            "ext4_split_extent_zeroout: all of an unwritten extent but the range to convert is "
            "zeroed, what other I/O has written to it included",
        ),
        Quirk(
            "conversion_finds_no_tree_block",
            "With no space for a tree block what was written to an extent that goes on past EOF "
            "is lost; only on the iomap path fsync says so.",
            "ext4_split_extent: nothing may be zeroed there, so the conversion after I/O fails; "
            "ext4_end_io_end only logs it",
        ),
        Quirk(
            "zero_range_revives_eof_block",
            "After ZERO_RANGE that grows a file over its unaligned EOF the old bytes of that block "
            "are read; on the buffer_head path what is written there next is lost.",
            "ext4_zero_range drops the page cache, then ext4_alloc_file_blocks reads the EOF block "
            "back as written (ext4_block_zero_eof), then makes it unwritten",
        ),
        Quirk(
            "zeroed_tail_keeps_block_from_disk",
            "With data=journal what is committed of the block that holds EOF is lost at umount, or "
            "where a range is inserted or collapsed, behind a truncation to the same size.",
            "ext4_block_journalled_zero_range: the block is in a transaction that i_datasync_tid "
            "does not know, so ext4_do_writepages neither commits that nor writes the block",
        ),
        Quirk(
            "old_error_fails_truncate",
            "On the iomap path a truncation, or what else zeroes the rest of EOF's block, fails "
            "with the error of earlier writeback; a truncation has cut the size only then.",
            "ext4_block_zero_eof: filemap_write_and_wait_range tells old errors; ext4_setattr "
            "has cut the size by then",
            follows="conversion_finds_no_tree_block",
        ),
        Quirk(
            "failed_insert_range_grows_file",
            "INSERT_RANGE that finds no tree block, or no room for blocks past EOF, fails, and the "
            "file is larger.",
            "ext4_insert_range moves i_size and i_disksize before it splits the extent",
        ),
        Quirk(
            "last_cluster_taken_for_mapped",
            "With bigalloc, delayed blocks in the last cluster a file can have reserve nothing "
            "if mapped blocks are before it; once allocated the cluster is missing from i_blocks.",
            "ext4_clu_mapped takes EXT_MAX_BLOCKS, for no next extent, for a block of that cluster",
        ),
        Quirk(
            "last_page_read_in_part",
            "With blocks smaller than a page the last page of the longest file can't be stored to "
            "through a mapping, nor copied through a pipe; read(2) may fail with EIO once.",
            "ext4_iomap_map_blocks has EINVAL for blocks behind the last one a file can have, so "
            "no read makes that page uptodate as a whole",
        ),
        Quirk(
            "indirect_delayed_tail_is_hole",
            "FIEMAP of a file without extents shows its delayed tail as a hole.",
            "ext4_ind_map_blocks of 7.2; fixed by aed43f47e1ed in 7.3",
        ),
    )
}


class Behaviour(msgspec.Struct, frozen=True):
    """What kernel and machine the model stands for.

    The defaults are Linux 7.2 with transparent huge pages on a one-CPU guest and the iomap
    series as measured; `of_release` gives what other releases do.
    """

    iomap: bool = True
    """The kernel knows the mount option `buffered_iomap` (v2 22/22); else it is ignored."""

    da_map_sets_new: bool = True
    """`ext4_da_map_blocks` reports EXT4_MAP_NEW (eaff8d796722); without it the punch of
    stale delayed ranges never runs (v3 08/22)."""

    eof_zero_flush: Literal["truncate_down", "allocated"] = "allocated"
    """Which zeroing of the block that holds EOF is written at once on the iomap path.

    `truncate_down`: that of ext4_truncate, whatever the block's state (v2 03/22 and 17/22).
    `allocated`: every one (truncate, a write past EOF, fallocate), unless the block is
    delayed (as measured). Edges of punched and zeroed ranges are never."""

    write_ends_at_fault: bool = False
    """On the iomap path a fault after progress ends the call (7.3: `iomap_write_iter`
    returns its status); before, one more mapping was made and found that nothing is left."""

    zero_range_edges_first: bool = False
    """`ext4_zero_range` zeroes the blocks that it covers in part before it drops the page
    cache of the range (7.3); before, at the end."""

    metadata_writeback: bool = False
    """Without a journal an inode that was changed stays in memory until fsync(2) or umount, since
    sync(2) leaves the mark that its buffer is to be written (I_METADATA_WRITEBACK of 7.3, set by
    `ext4_mark_iloc_dirty`)."""

    max_folio: int = 2 * MIB
    """Largest folio of the page cache in bytes; 4096 without transparent huge pages
    (`mapping_max_folio_size`, `ext4_set_inode_mapping_order`)."""

    nr_cpu: int = 1
    """Possible CPUs: the low-space watermark (EXT4_FREECLUSTERS_WATERMARK)."""

    max_zeroout_kib: int = 32
    """sysfs extent_max_zeroout_kb: unwritten extents up to this size are zeroed rather
    than split (`ext4_ext_convert_to_initialized`)."""

    readahead: int = 8 * MIB
    """The device's read_ahead_kb in bytes: of a rotating disk, which virtio-blk claims to be,
    twice the largest request (`blk_apply_bdi_limits`)."""

    cyclic_sync: bool = False
    """On the buffer_head path sync(2) begins where the last writeback of the whole file
    ended and then wraps (`range_cyclic` in `ext4_do_writepages`). So it is where the
    flusher thread, which sync(2) wakes, runs before sync's own writeback: a matter of the
    kernel's preemption model and the caller's scheduling class."""

    waker_preempted: bool = True
    """A task that waited goes on before the thread that woke it: on one CPU, if the task is of a
    real-time class, as in guests of `vm`. So the flusher thread counts as busy still after
    low-space writeback (WB_writeback_running), and the next request for that is skipped unless
    the task slept meanwhile (`bdi_split_work_to_wbs`, skip_if_busy); and the worker that converted
    the blocks of an I/O still holds the last folio of it (`folio_end_writeback`)."""

    quirks: frozenset[str] = frozenset()
    """Names of the `QUIRKS` that the kernel is known for."""

    @classmethod
    def of_release(cls, release: str | None, **switches: Any) -> Self:
        """What the kernel `release` (uname -r, `7.3.4-amd64`) does, with `switches` for what
        no release tells.

        Raises `ValueError` if `release` does not begin with two numbers; without one the
        defaults hold.
        """
        if release is None:
            return cls(**switches)
        match = _RELEASE.match(release)
        if match is None:
            raise ValueError(f"not a kernel release: {release!r}")
        since_7_3 = (int(match[1]), int(match[2])) >= (7, 3)
        return cls(
            write_ends_at_fault=since_7_3, zero_range_edges_first=since_7_3,
            metadata_writeback=since_7_3, **switches,
        )  # fmt: skip

    def __post_init__(self) -> None:
        unknown = self.quirks - QUIRKS.keys()
        if unknown:
            raise ValueError(f"no such quirk: {', '.join(sorted(unknown))}")
