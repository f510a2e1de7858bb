"""Observation: what `stat`, FIEMAP, `statfs`, sysfs and debugfs would show."""

from __future__ import annotations

from harness.trace import Content, Extent, FileObservation, Observation, State
from model.indirect import seen_runs
from model.inode import Inode
from model.superblock import Superblock
from model.tree_bounds import tree_bounds
from model.units import DELAYED, SECTOR, UNWRITTEN, WRITTEN

__all__ = ["WHOLE_FILE_LIMIT", "content_of", "observe", "observe_file"]

WHOLE_FILE_LIMIT = 256 << 20
"""Bytes up to which a file is digested as a whole; the guest's agent has the same limit."""

STATES = {DELAYED: State.DELAYED, UNWRITTEN: State.UNWRITTEN, WRITTEN: State.WRITTEN}


def observe(sb: Superblock, files: dict[str, Inode]) -> tuple[Observation, dict[str, str]]:
    """The observation, and the reasons for what it leaves open by field."""
    unpredicted: dict[str, str] = {}
    if any(inode.unreadable for inode in files.values()):
        return Observation(error="EBADMSG"), unpredicted
    seen = {name: observe_file(name, inode, unpredicted) for name, inode in files.items()}
    if not any(inode.tree_unknown for inode in files.values()):
        sb.space_unknown = None
    unknown = sb.space_unknown
    if unknown is not None:
        unpredicted["bfree"] = unpredicted["bavail"] = unknown
    return Observation(
        files=seen,
        delalloc=sb.delayed_blocks(),
        bfree=sb.free_blocks() if unknown is None else None,
        bavail=sb.available_blocks() if unknown is None else None,
    ), unpredicted


def observe_file(name: str, inode: Inode, unpredicted: dict[str, str]) -> FileObservation:
    """One file's observation (ext4_file_getattr, ext4_fiemap)."""
    reason = inode.tree_unknown
    if reason is not None:
        unpredicted[f"{name}.blocks"] = unpredicted[f"{name}.disk_blocks"] = reason
    if inode.states_unknown is not None:
        unpredicted[f"{name}.extents"] = inode.states_unknown
    return FileObservation(
        size=inode.size,
        blocks=inode.sectors if reason is None else None,
        disk_blocks=inode.disk_sectors if reason is None else None,
        disksize=inode.disksize,
        reserved=inode.reserved,
        extents=_extents(inode) if inode.states_unknown is None else None,
        blocks_range=None if reason is None else _sectors_range(inode, inode.sectors),
        disk_blocks_range=None if reason is None else _sectors_range(inode, inode.disk_sectors),
    )


def _sectors_range(inode: Inode, sectors: int) -> tuple[int, int]:
    """`sectors` with the fewest and the most tree blocks in place of those last known."""
    unit = inode.sb.block_size // SECTOR * inode.sb.ratio
    by_state = inode.states_unknown is None
    low, high = tree_bounds(inode.es, inode.sb.block_size, inode.most_mapped, by_state)
    known = sectors - inode.tree_blocks * unit
    return known + low * unit, known + high * unit


def _extents(inode: Inode) -> tuple[Extent, ...]:
    """Runs of one state, in bytes; `physical` is of the first block."""
    size = inode.sb.block_size
    if inode.inline:
        length = min(inode.inline_size, inode.size)
        return (Extent(0, length, State.INLINE),) if length else ()
    if inode.extents and inode.es.seen is not None:
        return inode.es.seen
    merged: list[tuple[int, int, int, int | None]] = []
    for run in seen_runs(inode):
        if merged and merged[-1][1] == run.start and merged[-1][2] == run.state:
            merged[-1] = (merged[-1][0], run.end, run.state, merged[-1][3])
        else:
            merged.append((run.start, run.end, run.state, run.pblk))
    inode.es.seen = tuple(
        Extent(
            start * size,
            (end - start) * size,
            STATES[state],
            None if pblk is None else pblk * size,
        )
        for start, end, state, pblk in merged
    )
    return inode.es.seen


def content_of(inode: Inode, in_blocks: bool = True) -> Content:
    """What reading the whole file gives; without `in_blocks` only as a whole, if it has a
    digest as a whole. A file longer than `WHOLE_FILE_LIMIT` bytes, mostly holes, has none."""
    undefined = inode.content.undefined(inode.size)
    digested = not undefined and inode.size <= WHOLE_FILE_LIMIT
    return Content(
        size=inode.size,
        sha256=inode.content.sha256(inode.size) if digested else None,
        blocks=inode.content.checksums(inode.size) if in_blocks or not digested else None,
        undefined=undefined,
    )
