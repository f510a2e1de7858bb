"""An image without its files: what the model's image begins as, where the workload's start
had files already. The model has them all; the writer adds them again as they are now."""

from __future__ import annotations

import copy

from harness.errors import NotModelledError
from model.image.filesystem import Filesystem
from model.image.inode import ROOT
from model.image.write_directory import without_entries
from model.image.write_groups import put_groups, put_superblock
from model.image.write_inode import sealed
from model.image.write_space import Space
from model.image.write_target import Overlay

__all__ = ["cleared"]

_BLOCK_AT = 40  # of the block numbers in an inode
_PARENT = 4  # bytes of an inline directory before its entries


def cleared(fs: Filesystem) -> Filesystem:
    """`fs` without the regular files of its root directory, in memory over what it is.

    Raises `NotModelledError` for a root directory that is not one block, or one piece of
    inline data.
    """
    root = fs.inode(ROOT)
    entries = fs.directory(root, fs.mapping(root), fs.xattrs_in(root)).entries
    numbers = {entry.inode for entry in entries if fs.inode(entry.inode).is_regular}
    if not numbers:
        return fs
    target = Overlay(fs.volume.source, fs.volume.block_size)
    before = Space(fs.volume, fs.groups)
    space = copy.copy(before)
    space.clusters, space.inodes = list(before.clusters), list(before.inodes)
    for number in sorted(numbers):
        mapping = fs.mapping(fs.inode(number))
        for extent in mapping.extents:
            space.release(extent.physical, extent.length)
        for block in mapping.tree:
            space.release(block, 1)
        space.release_inode(number)
        target.write(fs.inodes.offset(number), bytes(fs.volume.inode_size))
    _drop_names(fs, numbers, target)
    put_groups(fs.volume, fs.groups, before, space, target)
    put_superblock(fs.volume, space, target)
    return Filesystem(target)


def _drop_names(fs: Filesystem, numbers: set[int], target: Overlay) -> None:
    volume, root = fs.volume, fs.inode(ROOT)
    if root.is_inline:
        at = _BLOCK_AT + _PARENT
        piece = without_entries(volume, root.record.block[_PARENT:], numbers, None)
        raw = root.raw[:at] + piece + root.raw[at + len(piece) :]
        if any(xattr.value for xattr in fs.xattrs_in(root)):
            raise NotModelledError("an image whose root directory goes on in an attribute")
        target.write(fs.inodes.offset(ROOT), sealed(volume, ROOT, raw))
        return
    extents = fs.mapping(root).extents
    if [(extent.logical, extent.length) for extent in extents] != [(0, 1)]:
        raise NotModelledError("an image whose root directory is not one block")
    physical = extents[0].physical
    block = volume.read(physical, "root directory")
    target.put(physical, without_entries(volume, block, numbers, root.seed))
