"""How an image becomes its canonical form (`harness.image.form`)."""

from __future__ import annotations

import hashlib
import stat
import struct

import msgspec

from harness.extent import Extent, State
from harness.image.digest import digest
from harness.image.form import Canonical, Entry, Shape, Whole
from harness.image.names import printable
from harness.image.survey import File, Survey
from model.image import features
from model.image.content import written
from model.image.filesystem import Filesystem
from model.image.inode import HUGE_FILE_FL
from model.image.xattr import INLINE_NAME

__all__ = ["canonical", "canonical_of"]

_VISIBLE = 0x725BDFFF | HUGE_FILE_FL  # EXT4_FL_USER_VISIBLE and what i_blocks counts in
_LONG_VALUE = 256
_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link",
    stat.S_IFCHR: "character device", stat.S_IFBLK: "block device", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}  # fmt: skip
_PASSING = {"needs_recovery", "orphan_present"}
"""Features that say in which state a file system is, not what it can."""


def canonical(fs: Filesystem) -> Canonical:
    """The canonical form of an image; `ImageError` if it cannot be read exactly."""
    return canonical_of(Survey(fs))


def canonical_of(survey: Survey) -> Canonical:
    """The canonical form of an image that has been walked.

    Raises `ImageError` if a block is used twice: one of its users would be misread.
    """
    volume = survey.fs.volume
    for block, first, second in survey.usage.overlaps():
        who = " and ".join(f"inode {by}" if by else "metadata" for by in (first, second))
        raise volume.error(who, "use the same block", block)
    files: dict[str, Entry] = {}
    shapes: dict[str, Shape] = {}
    for file in survey.files.values():
        paths = sorted(file.paths)
        entry = files[paths[0]] = _entry(survey.fs, file)
        mapping = file.mapping
        if mapping.extents:
            shapes[paths[0]] = Shape(mapping.depth, len(mapping.extents), len(mapping.tree))
        for path in paths[1:]:
            files[path] = msgspec.structs.replace(entry, same_as=paths[0])
    return Canonical(_whole(survey), dict(sorted(files.items())), dict(sorted(shapes.items())))


def _whole(survey: Survey) -> Whole:
    volume = survey.fs.volume
    sb = volume.sb
    names = features.feature_names(sb.feature_compat, sb.feature_incompat, sb.feature_ro_compat)
    return Whole(
        block_size=volume.block_size,
        cluster_size=volume.cluster_size,
        inode_size=volume.inode_size,
        blocks=volume.blocks_count,
        free_blocks=volume.free_blocks,
        reserved_blocks=volume.reserved_blocks,
        inodes=sb.inodes_count,
        free_inodes=sb.free_inodes_count,
        features=tuple(name for name in names if name not in _PASSING),
        error_count=sb.error_count,
        needs_recovery=volume.incompat(features.RECOVER),
        orphans=len(survey.orphans),
    )


def _entry(fs: Filesystem, file: File) -> Entry:
    inode = file.inode
    return Entry(
        type=_TYPES[inode.type],
        mode=f"{stat.S_IMODE(inode.mode):04o}",
        uid=inode.uid,
        gid=inode.gid,
        project=inode.project,
        size=inode.size,
        links=inode.links,
        flags=f"{inode.flags & _VISIBLE:#x}",
        blocks=inode.blocks,
        extents=_extents(fs, file),
        content=_content(fs, file) if inode.is_regular else None,
        target=None if file.target is None else printable(file.target),
        device=_device(file) if inode.type in (stat.S_IFCHR, stat.S_IFBLK) else None,
        xattrs={
            printable(xattr.name): _value(xattr.value)
            for xattr in sorted(file.xattrs, key=lambda xattr: xattr.name)
            if xattr.name != INLINE_NAME  # the content's second part
        },
    )  # fmt: skip


def _extents(fs: Filesystem, file: File) -> tuple[Extent, ...]:
    size = fs.volume.block_size
    if file.inode.is_inline:
        return (Extent(0, file.inode.size, State.INLINE),)
    found: list[list[int]] = []
    states: list[bool] = []
    for extent in file.mapping.extents:
        if found and states[-1] == extent.written and sum(found[-1]) == extent.logical:
            found[-1][1] += extent.length
        else:
            found.append([extent.logical, extent.length])
            states.append(extent.written)
    return tuple(
        Extent(start * size, length * size, State.WRITTEN if is_written else State.UNWRITTEN)
        for (start, length), is_written in zip(found, states, strict=True)
    )


def _content(fs: Filesystem, file: File) -> str:
    inode = file.inode
    if file.inline is not None:
        return digest([(0, file.inline)], inode.size)
    return digest(written(fs.volume, file.mapping, inode.structure), inode.size)


def _value(value: bytes) -> str:
    if len(value) <= _LONG_VALUE:
        return value.hex()
    return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}"


def _device(file: File) -> str:
    """major:minor, from the old or the new encoding (old_decode_dev, new_decode_dev)."""
    old, new = struct.unpack_from("<II", file.inode.record.block)
    if old:
        return f"{old >> 8 & 0xFF}:{old & 0xFF}"
    return f"{new >> 8 & 0xFFF}:{new & 0xFF | new >> 12 & 0xFFF00}"
