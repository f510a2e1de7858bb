"""Each inode against what it maps, its names and its neighbours."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from harness.image.names import printable
from harness.image.problem import Problem
from harness.image.survey import File, Survey
from model.image import features
from model.image.content import inline_tail, tail
from model.image.directory import FILE_TYPES, Directory
from model.image.hashes import HASHES, UNSIGNED, name_hash
from model.image.inode import BAD_BLOCKS, CASEFOLD_FL, VERITY_FL
from model.image.layout import XATTR_HEADER, XattrHeader
from model.image.volume import Volume

__all__ = ["check_files", "expected_sectors"]

_WITHOUT_HOLES = ("journal", "orphan file")
_WITHOUT_SIZE = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


def check_files(survey: Survey) -> Iterator[Problem]:
    """i_blocks, links, directories, and what lies past the end of files."""
    volume = survey.fs.volume
    for file in survey.files.values():
        where = min(file.paths)
        yield from _blocks(volume, file, where)
        yield from _clusters(volume, file, where)
        yield from _links(volume, file, where)
        yield from _casefold(volume, file, where)
        if file.inode.is_regular or file.inode.type == stat.S_IFLNK:
            yield from _past_the_end(volume, file, where)
        if file.inode.type in _WITHOUT_SIZE and file.inode.size:
            yield Problem(where, f"{file.inode.size} bytes, but it holds none")
        if file.directory is not None:
            yield from _directory(survey, file, file.directory, where)
    for number, file in survey.system.items():
        yield from _blocks(volume, file, f"inode {number}")
        yield from _system(volume, file, survey.fs.system_inodes[number])
    for number, file in survey.values.items():
        yield from _blocks(volume, file, f"inode {number}")
        yield from _references(survey, file)
    for block, users in survey.shared.items():
        yield from _users(volume, block, users)


def expected_sectors(volume: Volume, file: File) -> int:
    """512-byte sectors that i_blocks should say: data, tree and attributes in clusters.

    Values of attributes in inodes of their own count for each file that has them.
    """
    ratio, first = volume.ratio, volume.first_block
    if ratio == 1:
        clusters = sum(extent.length for extent in file.mapping.extents)
    else:
        clusters, last = 0, -1
        for extent in sorted(file.mapping.extents, key=lambda extent: extent.physical):
            start = max((extent.physical - first) // ratio, last + 1)
            last = max(last, (extent.physical + extent.length - 1 - first) // ratio)
            clusters += last - start + 1
    clusters += len(file.mapping.tree) + bool(file.inode.xattr_block)
    for xattr in file.xattrs:
        if xattr.inode:
            clusters += -(-len(xattr.value) // volume.cluster_size)
    return clusters * volume.sectors_per_cluster


def _blocks(volume: Volume, file: File, where: str) -> Iterator[Problem]:
    expected = expected_sectors(volume, file)
    if file.inode.blocks != expected:
        reason = f"i_blocks is {file.inode.blocks} sectors, what it maps needs {expected}"
        yield Problem(where, reason)


def _clusters(volume: Volume, file: File, where: str) -> Iterator[Problem]:
    """With bigalloc, a cluster of the file lies in one cluster of the disk, block by block."""
    ratio, last, place = volume.ratio, -1, -1
    if ratio == 1:
        return
    for extent in file.mapping.extents:
        physical = extent.physical - volume.first_block
        cluster = physical // ratio
        if physical % ratio != extent.logical % ratio:
            yield Problem(where, f"block {extent.logical} is at {physical}, not aligned alike")
        elif extent.logical // ratio == last and cluster != place:
            yield Problem(where, f"cluster {last} of the file lies in clusters {place}, {cluster}")
        last = (extent.end - 1) // ratio
        place = (physical + extent.length - 1) // ratio


def _links(volume: Volume, file: File, where: str) -> Iterator[Problem]:
    links, expected = file.inode.links, len(file.paths)
    if file.directory is not None:
        expected = 2 + file.subdirectories
        if links == 1 and volume.ro_compat(features.DIR_NLINK):  # too many to count
            return
    if links != expected:
        yield Problem(where, f"link count is {links}, but {expected} names lead to it")
    if file.inode.record.dtime:
        yield Problem(where, "has a time of deletion")


def _casefold(volume: Volume, file: File, where: str) -> Iterator[Problem]:
    """Names are folded in directories only, and where the feature is on (ext4_iget, e2fsck)."""
    if not file.inode.flags & CASEFOLD_FL:
        return
    if file.directory is None:
        yield Problem(where, "has the casefold flag, but is no directory")
    elif not volume.incompat(features.CASEFOLD):
        yield Problem(where, "has the casefold flag, but the file system lacks the feature")


def _system(volume: Volume, file: File, what: str) -> Iterator[Problem]:
    """A file of the file system itself is regular, has one name and, mostly, no hole."""
    inode = file.inode
    if inode.number == BAD_BLOCKS:
        return
    if not inode.is_regular or inode.links != 1:
        yield Problem(f"{what}, {inode.structure}", "is no regular file with a link count of 1")
    if what not in _WITHOUT_HOLES:
        return
    mapped = sum(extent.length for extent in file.mapping.extents if extent.written)
    if inode.size != mapped * volume.block_size:
        reason = f"{inode.size} bytes, but {mapped} written blocks"
        yield Problem(f"{what}, {inode.structure}", reason)


def _past_the_end(volume: Volume, file: File, where: str) -> Iterator[Problem]:
    inode, mapping = file.inode, file.mapping
    if inode.is_fast_symlink or inode.flags & VERITY_FL:  # whose hashes lie there
        return
    end = -(-inode.size // volume.block_size)
    for extent in mapping.extents:
        if extent.written and extent.end > end:
            first = max(extent.logical, end)
            yield Problem(
                where,
                f"written blocks {first}-{extent.end - 1} lie past the end, {inode.size} bytes",
            )
    rest = inline_tail(inode, file.xattrs) if inode.is_inline else tail(volume, inode, mapping)
    used = rest.rstrip(b"\0")
    if used:
        start = inode.size + len(rest) - len(rest.lstrip(b"\0"))
        yield Problem(
            where,
            f"bytes {start}-{inode.size + len(used) - 1} past the end, {inode.size} bytes,"
            " are not zero",
            of_crash=not inode.is_inline,
        )


def _directory(survey: Survey, file: File, directory: Directory, where: str) -> Iterator[Problem]:
    volume = survey.fs.volume
    if directory.parent != file.parent:
        reason = f"its .. is inode {directory.parent}, its parent inode {file.parent}"
        yield Problem(where, reason)
    if volume.incompat(features.FILETYPE):
        for entry in directory.entries:
            inode = survey.files[entry.inode].inode
            if entry.type != FILE_TYPES[inode.type]:
                name = printable(entry.name)
                reason = f"entry {name} has type {entry.type}, its inode {FILE_TYPES[inode.type]}"
                yield Problem(where, reason)
    if not file.inode.flags & CASEFOLD_FL:  # whose hashes are of folded names
        yield from _hashes(volume, directory, where)


def _hashes(volume: Volume, directory: Directory, where: str) -> Iterator[Problem]:
    tree = directory.tree
    if tree is None:
        return
    unsigned = bool(volume.sb.flags & UNSIGNED)
    version = tree.version - 3 if tree.version in (3, 4, 5) else tree.version
    if version not in HASHES:
        yield Problem(where, f"hash version {tree.version} is not known")
        return
    for entry in directory.entries:
        hashed = name_hash(entry.name, version, volume.sb.hash_seed, unsigned=unsigned)
        first, last = tree.leaves[entry.block]
        # An odd first hash says that the leaf before ends with the same one.
        if not first & ~1 <= hashed <= last:
            name = printable(entry.name)
            yield Problem(where, f"entry {name} with hash {hashed:#x} is in the wrong leaf")


def _references(survey: Survey, file: File) -> Iterator[Problem]:
    inode = file.inode
    counted = inode.record.ctime << 32 | inode.record.version
    expected = survey.references[inode.number]
    if counted != expected:
        reason = f"counts {counted} references to its value, {expected} are there"
        yield Problem(inode.structure, reason)


def _users(volume: Volume, block: int, users: int) -> Iterator[Problem]:
    """Inodes may share a block of equal attributes; it counts them."""
    raw = volume.read(block, "extended attributes")
    header = XattrHeader._make(XATTR_HEADER.unpack_from(raw))
    if header.refcount != users:
        reason = f"attributes of {users} inodes, but it counts {header.refcount}"
        yield Problem(f"block {block}", reason)
