"""Known issues: what kernels are known to do wrong, and how a report may count it apart.

The strict model is the truth. A quirk (`model/behaviour.py`) makes it follow a kernel past
one of its bugs, so that the rest of the workload is still compared. Each entry here says
which kernels have the bug and when; `applicable` chooses by release and path.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.known_issue import KnownIssue
from workloads.ops import (
    CopyRange,
    Insert,
    MmapIn,
    MmapWrite,
    MsyncWrite,
    Pwritev,
    Read,
    Sendfile,
    Shutdown,
    Splice,
    Truncate,
    WriteFault,
    Zero,
)
from workloads.workload import Workload

__all__ = ["KNOWN_ISSUES", "applicable"]

_NOT_CONVERTED = (
    r"failed to convert unwritten extents|EXT4-fs warning in ext4_convert_unwritten_extents"
)
"""What the kernel says of a conversion that fails."""

_DATA_LOST = r"Delayed block allocation failed|Data will be lost"
"""What it says where writeback has to give a block up: this should not happen."""

_IN_WRITEBACK = r"is blocked in (?:ext4_\w*write\w*|ext4_iomap_\w+|jbd2_\w+)|s are over"
"""Where writeback that never ends is when somebody looks."""

_MISCOUNTED = (
    r"i_blocks is \d+|\[QUOTA WARNING\]|Update quota info for quota type|"
    r"extent tree \(at level \d+\) could be|Filesystem still has errors|\d+/\d+ files \("
)
"""What e2fsck says of an i_blocks that lacks a cluster, and with it the owner's quota; and what it
advises in passing."""

_BEHIND_EOF = r"past the end, \d+ bytes?, are not zero"
"""What our own check says of bytes in the block of EOF that nobody zeroed there."""

_NOTED = r"errors noted, the first in (?:ext4_setattr)?:|unmounted \(state 0x3\)"
"""What our own check says of an error that ext4_setattr() has noted in the superblock; the model
notes no function."""

_CUT_SHORT = (
    r"i_size is \d+, should be|Filesystem still has errors|\d+/\d+ files \(|lie past the end|"
    + _NOTED
)
"""What e2fsck and our own check say of a file whose blocks go on behind its size, and of the error
that comes with it."""

KNOWN_ISSUES: tuple[KnownIssue, ...] = (
    KnownIssue(
        name="efault-beyond-eof-moves-size",
        quirk="efault_beyond_eof_moves_size",
        # the size on disk stays, and what is stored up to the new one is behind it after umount
        image_complaint=_BEHIND_EOF,
        since=(7, 2),
        path="bh",
        triggers=(WriteFault, Pwritev),
        condition="a write beyond EOF fails with EFAULT before a byte was copied",
        observable="i_size moves to the write's offset, and the blocks that it reserved"
        " stay reserved until the inode is evicted",
        reason="ext4_da_do_write_end() and ext4_write_end() take the offset plus the zero"
        " bytes that were copied as the new size, and leave the failed write's blocks",
    ),
    KnownIssue(
        name="stale-folio-after-short-copy",
        quirk="stale_folio_after_short_copy",
        since=(7, 2),
        fixed=(7, 3),
        path="iomap",
        triggers=(WriteFault, Pwritev),
        condition="a copy stops short in a folio that is not uptodate, at an offset that is"
        " not block aligned",
        observable="the rest of the folio is stale memory, to read(2) and on disk",
        reason="__iomap_write_begin() marks the range uptodate before it is copied",
    ),
    KnownIssue(
        name="inline-conversion-undone",
        quirk="inline_conversion_undone",
        # what was cut off is there again
        image_complaint=_BEHIND_EOF,
        since=(7, 2),
        path="bh",
        feature="inline_data",
        condition="a file whose data was inline gets its first block by truncate, fallocate"
        " or a store through a mapping, and is written before that block was checkpointed",
        observable="after sync and drop_caches, or a remount, the first block is as it was"
        " when the data left the inode: what was written or zeroed since is gone",
        reason="ext4_convert_inline_data_nolock() writes the block through the journal as"
        " metadata, and nothing makes the journal forget it when it becomes file data",
    ),
    KnownIssue(
        name="inline-conversion-reads-stale-blocks",
        quirk="inline_conversion_reads_stale",
        since=(7, 2),
        path="bh",
        feature="inline_data",
        condition="a file whose data is inline, and not in the page cache, gets its first block by"
        " truncate, fallocate or direct I/O, and is used before that block was checkpointed",
        observable="in place of its data what the disk held there before is read, other files'"
        " deleted data too; writes to the block write that back",
        reason="ext4_convert_inline_data_nolock() puts the data into the device's page cache and"
        " the journal only; reads of the file go past both",
    ),
    KnownIssue(
        name="converted-block-outlives-file",
        quirk="converted_block_outlives_file",
        # the deleted data may be longer than what the file has there
        image_complaint=_BEHIND_EOF,
        since=(7, 2),
        path="bh",
        feature="inline_data",
        condition="a file whose data was inline gets its first block by truncate, fallocate or a"
        " store through a mapping and is deleted or cut before that block was checkpointed;"
        " another file gets the block",
        observable="after sync and drop_caches, or a crash, the deleted data is in the other file,"
        " in place of what was written there, though fsync(2) returned 0",
        reason="ext4_free_blocks() does not have the journal and the device's page cache forget"
        " blocks of regular files",
    ),
    KnownIssue(
        name="inline-growth-not-journalled",
        quirk="inline_growth_not_journalled",
        since=(7, 2),
        path="bh",
        triggers=(Shutdown,),
        feature="inline_data",
        option="data=journal",
        condition="a write makes a file outgrow its inode, and the machine crashes after a commit"
        " and before writeback",
        observable="what was in the inode, synced before, is what the disk held in that block",
        reason="ext4_convert_inline_data_to_extent() takes the data out of the inode in a"
        " transaction, but dirties the block that it moves to outside of it",
    ),
    KnownIssue(
        name="failed-truncate-marks-errors",
        quirk="failed_truncate_marks_errors",
        complaint=r"error in ext4_setattr|mounting fs with errors",
        image_complaint=_NOTED,
        since=(7, 2),
        path="bh",
        triggers=(Truncate,),
        feature="inline_data",
        condition="truncate(2) makes a file larger than fits into its inode, and there is no block",
        observable="beside ENOSPC, log and superblock say that the file system has errors; with"
        " errors=remount-ro it is read-only then, with errors=panic the machine stops",
        reason="ext4_setattr() hands each error to ext4_std_error(), also that of"
        " ext4_convert_inline_data()",
    ),
    KnownIssue(
        name="failed-conversion-breaks-checksum",
        quirk="failed_conversion_breaks_checksum",
        complaint=r"EXT4-fs error in ext4_lookup|reading the files \(\w+\): EBADMSG"
        r"|mounting fs with errors",
        image_complaint=r"checksum does not match inode|: inode \d+ \(block \d+\): wrong checksum"
        r"|Filesystem still has errors|\d+/\d+ files \(",
        since=(7, 2),
        path="bh",
        feature="inline_data",
        condition="truncate, fallocate or a store through a mapping moves inline data to a block,"
        " there is none, and nothing of the inode changes after that",
        observable="once it has left memory the file can't be opened: EBADMSG; the kernel's log:"
        " iget: checksum invalid, and when it is mounted next, that the file system has errors",
        reason="ext4_restore_inline_data() puts the data back into the inode after its checksum"
        " was computed",
    ),
    KnownIssue(
        name="inline-overwrite-not-synced",
        quirk="inline_overwrite_not_synced",
        since=(7, 2),
        path="bh",
        triggers=(Shutdown,),
        feature="inline_data",
        condition="data in the inode is overwritten without growing, by fdatasync(2) or with"
        " O_DSYNC, and the machine crashes before the journal commits",
        observable="after the crash the old data is there",
        reason="ext4_do_update_inode() moves i_datasync_tid on only if the size changes, but"
        " this data lies in the inode: ext4_fsync_journal() finds nothing to commit",
    ),
    KnownIssue(
        name="inline-growth-spotted-by-the-journal",
        complaint=r"JBD2: Spotted dirty metadata buffer",
        since=(7, 2),
        path="bh",
        feature="inline_data",
        option="data=journal",
        condition="a file with inline data outgrows its inode in one write",
        observable="the kernel's log: JBD2: Spotted dirty metadata buffer, there's a risk of"
        " filesystem corruption in case of system crash",
        reason="the block that the data moves to is dirtied outside of the journal",
    ),
    KnownIssue(
        name="inline-data-lost-without-space",
        quirk="inline_data_lost_without_space",
        since=(7, 2),
        path="bh",
        feature="inline_data",
        condition="a file with inline data outgrows its inode in a write without delayed"
        " allocation, as little space or nodelalloc have it, and no block can be had",
        observable="all that was in the inode reads as zeros once the page cache is dropped; the"
        " write fails with ENOSPC, or succeeds where a commit frees a block meanwhile",
        reason="ext4_convert_inline_data_to_extent() destroys the inline data before it has a block"
        " for it; the page that holds the data stays clean",
    ),
    KnownIssue(
        name="reserved-blocks-run-out",
        quirk="reserved_blocks_run_out",
        complaint=_DATA_LOST,
        since=(7, 2),
        path="bh",
        condition="a file system is full but for what is kept for conversions, and delayed"
        " blocks of many files need more extent tree blocks than that when they are written",
        observable="data that write(2) accepted is gone after writeback, and fsync(2) returns 0",
        reason="ext4_new_meta_blocks() takes tree blocks for delayed blocks without claiming"
        " them, so from what others have reserved; ext4_do_writepages() forgets the error",
    ),
    KnownIssue(
        name="reserved-blocks-run-out-iomap",
        quirk="reserved_blocks_run_out",
        complaint=_DATA_LOST,
        since=(7, 2),
        path="iomap",
        condition="as for reserved-blocks-run-out",
        observable="data that write(2) accepted is gone after writeback, also of blocks before the"
        " one that found no space; fsync(2) returns ENOSPC once",
        reason="ext4_new_meta_blocks() as there; ext4_iomap_discard_folio() forgets the rest of the"
        " folio, and iomap_writepages() fails what it had gathered before",
    ),
    KnownIssue(
        name="writeback-without-end",
        hang=_IN_WRITEBACK,
        since=(7, 2),
        path="bh",
        condition="as for reserved-blocks-run-out; space for a delayed block is left, but none for"
        " its tree block",
        observable="writeback never ends, nor does whoever waits for it",
        reason="ext4_ext_map_blocks() gives the block back, so that space is free and the error"
        " looks transient to mpage_map_and_submit_extent(): commit, try again, for ever",
    ),
    KnownIssue(
        name="writeback-without-end-iomap",
        hang=_IN_WRITEBACK,
        since=(7, 2),
        path="iomap",
        condition="as for writeback-without-end",
        observable="as there",
        reason="ext4_ext_map_blocks() as there; ext4_iomap_map_writeback_range() tries again",
    ),
    KnownIssue(
        name="conversion-zeroes-other-writes",
        quirk="conversion_zeroes_other_writes",
        since=(7, 2),
        path="bh",
        condition="several I/Os write to one unwritten extent within EOF, and the conversion of one"
        " of them has to split it while no tree block can be had: the file system is full, or what"
        " was freed waits for a commit",
        observable="what the others wrote may be zeros once the page cache is dropped, though"
        " fsync(2) returned 0",
        reason="ext4_split_extent_zeroout() zeroes all of the extent on disk but the range that is"
        " converted, whatever has been written there",
    ),
    KnownIssue(
        name="conversion-zeroes-other-writes-iomap",
        quirk="conversion_zeroes_other_writes",
        since=(7, 2),
        path="iomap",
        condition="as for conversion-zeroes-other-writes",
        observable="as there",
        reason="ext4_split_extent_zeroout() as there",
    ),
    KnownIssue(
        name="conversion-finds-no-tree-block",
        quirk="conversion_finds_no_tree_block",
        complaint=_NOT_CONVERTED,
        since=(7, 2),
        path="bh",
        condition="the conversion after I/O has to split an unwritten extent that goes on past EOF"
        " on disk while no tree block can be had",
        observable="the data is gone once the page cache is dropped, and what is written there"
        " until then too, though fsync(2) returned 0",
        reason="nothing may be zeroed past EOF, so ext4_split_extent() fails; ext4_end_io_end()"
        " logs that and tells nobody",
    ),
    KnownIssue(
        name="conversion-finds-no-tree-block-iomap",
        quirk="conversion_finds_no_tree_block",
        complaint=_NOT_CONVERTED,
        since=(7, 2),
        path="iomap",
        condition="as for conversion-finds-no-tree-block; also within EOF, as i_disksize follows"
        " only after the conversion",
        observable="fsync(2) returns ENOSPC once, sync(2) 0; i_disksize stays behind, and the data"
        " is gone once the page cache is dropped",
        reason="ext4_split_extent() as there; ext4_iomap_finish_ioend() gives up",
    ),
    KnownIssue(
        name="zero-range-revives-eof-block",
        quirk="zero_range_revives_eof_block",
        since=(7, 2),
        path="bh",
        triggers=(Zero,),
        condition="ZERO_RANGE of whole blocks grows a file, and covers the block that holds its"
        " unaligned EOF, which was written",
        observable="the old bytes of that block are read in place of zeros until the page cache is"
        " dropped; what is written there meanwhile is lost then, though fsync returned 0",
        reason="ext4_zero_range() drops the page cache before ext4_alloc_file_blocks() has"
        " ext4_block_zero_eof() read the block back; it is made unwritten under a buffer that stays"
        " mapped, so writeback never converts it",
    ),
    KnownIssue(
        name="zero-range-revives-eof-block-iomap",
        quirk="zero_range_revives_eof_block",
        since=(7, 2),
        path="iomap",
        triggers=(Zero,),
        condition="as for zero-range-revives-eof-block",
        observable="the old bytes of that block are read in place of zeros until the page cache is"
        " dropped; a write to a part of it brings the rest back to disk",
        reason="ext4_zero_range() as there; the folio stays uptodate over the unwritten block",
    ),
    KnownIssue(
        name="zeroed-tail-keeps-block-from-disk",
        quirk="zeroed_tail_keeps_block_from_disk",
        complaint=r"EXT4-fs warning in ext4_evict_inode",
        image_complaint=_BEHIND_EOF,
        since=(7, 3),
        path="bh",
        option="data=journal",
        condition="a file is truncated to the size that it has, or a write or fallocate past its"
        " unaligned EOF fails, and before the next commit the file system is unmounted, or a range"
        " is inserted or collapsed in the file",
        observable="the kernel's log says at umount that data will be lost; what was written to the"
        " block of EOF before, fdatasync(2) or not, is what the disk held, unless it was written"
        " back before",
        reason="ext4_block_journalled_zero_range() puts the block into a transaction, but does not"
        " move i_datasync_tid on; ext4_do_writepages() commits no further than that, and can't"
        " write a block of a transaction that runs",
    ),
    KnownIssue(
        name="old-error-fails-truncate-iomap",
        quirk="old_error_fails_truncate",
        complaint=r"EXT4-fs error in ext4_setattr|mounting fs with errors|Errors on filesystem",
        image_complaint=_CUT_SHORT,
        since=(7, 2),
        path="iomap",
        condition="writeback could not write some block of a file, which no fsync(2) has told yet;"
        " then the file is truncated, or else extended, and the block of EOF is zeroed for that",
        observable="the call fails with that error; a truncation has cut the size, but removed no"
        " block: e2fsck complains, and what was cut off is there again when the file grows",
        reason="ext4_block_zero_eof() writes the block at once with filemap_write_and_wait_range(),"
        " which tells old errors, too; ext4_setattr() has cut the size by then",
    ),
    KnownIssue(
        name="failed-insert-range-grows-file",
        quirk="failed_insert_range_grows_file",
        since=(7, 2),
        path="bh",
        triggers=(Insert,),
        condition="INSERT_RANGE has to split an extent and finds no tree block, as when all that"
        " is free waits for a commit; or would move preallocated blocks past the last one of all",
        observable="fallocate(2) fails with ENOSPC or EINVAL, and the file has grown by the range",
        reason="ext4_insert_range() moves i_size and i_disksize before it splits the extent, and"
        " before ext4_ext_shift_extents() looks whether all of them have room",
    ),
    KnownIssue(
        name="failed-insert-range-grows-file-iomap",
        quirk="failed_insert_range_grows_file",
        since=(7, 2),
        path="iomap",
        triggers=(Insert,),
        condition="as for failed-insert-range-grows-file",
        observable="as there",
        reason="ext4_insert_range() as there",
    ),
    KnownIssue(
        name="last-cluster-taken-for-mapped",
        quirk="last_cluster_taken_for_mapped",
        image_complaint=_MISCOUNTED,
        since=(7, 2),
        path="bh",
        feature="bigalloc",
        condition="delayed blocks come into the last cluster of the longest file, which has no"
        " block yet, and mapped blocks are before it",
        observable="nothing is reserved, so writeback may find no space; the allocated cluster is"
        " missing from i_blocks and quota, e2fsck complains, and when it is freed they can pass 0",
        reason="ext4_clu_mapped() compares the cluster of ext4_ext_next_allocated_block() with its"
        " own, and takes EXT_MAX_BLOCKS, which says that no extent follows, for a block in it",
    ),
    KnownIssue(
        name="last-cluster-taken-for-mapped-iomap",
        quirk="last_cluster_taken_for_mapped",
        image_complaint=_MISCOUNTED,
        since=(7, 2),
        path="iomap",
        feature="bigalloc",
        condition="as for last-cluster-taken-for-mapped",
        observable="as there",
        reason="ext4_clu_mapped() as there",
    ),
    KnownIssue(
        name="last-page-read-in-part",
        quirk="last_page_read_in_part",
        since=(7, 3),
        path="iomap",
        triggers=(MmapWrite, MmapIn, MsyncWrite, CopyRange, Sendfile, Splice, Read),
        condition="blocks are smaller than a page, and the page that holds the last block of the"
        " longest file is read",
        observable="a store to it gets SIGBUS, a copy from it through a pipe EIO, and so does a"
        " read(2) of a block of it that is not cached beside one that is",
        reason="ext4_iomap_map_blocks() returns EINVAL for the rest of that page, where"
        " iomap_read_folio() goes on up to its end",
    ),
    KnownIssue(
        name="indirect-delayed-tail-is-hole",
        quirk="indirect_delayed_tail_is_hole",
        since=(7, 2),
        fixed=(7, 3),
        path="bh",
        feature="^extents",
        condition="a file without extents ends in delayed blocks",
        observable="FIEMAP and SEEK_DATA show its delayed tail as a hole",
        reason="ext4_ind_map_blocks() does not look at delayed blocks; fixed by aed43f47e1ed",
    ),
)
"""The list. An entry leaves it when no supported kernel has the bug any more."""


def applicable(
    release: str | None, workload: Workload, issues: Iterable[KnownIssue] = KNOWN_ISSUES
) -> tuple[KnownIssue, ...]:
    """The issues that a kernel of `release` may show on `workload`; none if it is unknown."""
    if release is None:
        return ()
    return tuple(issue for issue in issues if issue.affects(release, workload))
