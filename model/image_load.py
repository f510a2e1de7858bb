"""Starting from an image: the files of an ext4 file system become the model's.

Nothing is made up: size, owner, flags, content, extents by state and place, the nodes of
the tree as they lie on disk, limits and usage of users. What the model has no notion of is
refused by name (`NotModelledError`); what contradicts itself is an `ImageError`. The
result is what the model has after it was mounted (ext4_fill_super, __ext4_iget).
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.access import APPEND_ONLY, IMMUTABLE
from model.extent_status import Run
from model.image import features
from model.image.content import inline_content, written
from model.image.filesystem import Filesystem
from model.image.inode import EXTENTS_FL, INLINE_DATA_FL, ROOT
from model.image.inode import Inode as Record
from model.image.xattr import INLINE_NAME
from model.image_load_quota import load_quota
from model.image_load_tree import block_map_of, extent_tree_of
from model.inline_data import MIN_INLINE_SIZE
from model.inode import Inode
from model.units import EOF_BLOCK, UNWRITTEN, WRITTEN

if TYPE_CHECKING:
    from model.image.mapping import Mapping
    from model.image.xattr import Xattr
    from model.mount import Mount

__all__ = ["load_image"]

_FEATURES = {
    "64bit", "bigalloc", "dir_index", "dir_nlink", "ext_attr", "extent", "extra_isize",
    "filetype", "flex_bg", "has_journal", "huge_file", "inline_data", "large_file", "meta_bg",
    "metadata_csum", "metadata_csum_seed", "orphan_file", "quota", "resize_inode",
    "sparse_super", "sparse_super2", "uninit_bg",
}  # fmt: skip
_NAME = re.compile(rb"[A-Za-z0-9_.-]{1,255}")
"""File names that operations can say."""
_FLAGS = APPEND_ONLY | IMMUTABLE
_HARMLESS_OPTIONS = 0xC
"""user_xattr and acl, which every mke2fs sets (s_default_mount_opts)."""
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def load_image(mount: Mount, fs: Filesystem) -> None:
    """Give `mount`, which has no files yet, those of `fs`, from whose superblock it was made.

    Raises `NotModelledError`, and `ImageError` if a structure is damaged.
    """
    _check_whole(mount, fs)
    root = fs.inode(ROOT)
    entries = fs.directory(root, fs.mapping(root), fs.xattrs_in(root)).entries
    numbers: dict[int, str] = {}
    for entry in entries:
        record = fs.inode(entry.inode)
        if entry.name == b"lost+found":
            _check_lost_found(fs, record)
            continue
        name = _name(entry.name, record)
        numbers[entry.inode] = name
    for number, name in sorted(numbers.items()):  # as they were made
        mount.files[name] = _file(mount, fs, fs.inode(number), name)
    mount.directory.mounted(mount.files)
    if mount.sb.quota.tracked:
        load_quota(mount, fs)


def _refuse(what: str) -> NotModelledError:
    return NotModelledError(f"an image with {what} is not modelled as a start")


def _check_whole(mount: Mount, fs: Filesystem) -> None:
    sb, volume = mount.sb, fs.volume
    raw = volume.sb
    names = features.feature_names(raw.feature_compat, raw.feature_incompat, raw.feature_ro_compat)
    if "needs_recovery" in names:
        raise _refuse("a journal that needs recovery")
    if unknown := sorted(set(names) - _FEATURES):
        raise _refuse(f"the feature {', '.join(unknown)}")
    if fs.orphans():
        raise _refuse("orphans")
    if raw.error_count:
        raise _refuse(f"{raw.error_count} errors noted in its superblock")
    if raw.default_mount_opts & ~_HARMLESS_OPTIONS or raw.mount_opts.rstrip(b"\0"):
        raise _refuse("mount options in its superblock")
    reserved_for = (raw.def_resuid, raw.def_resuid_hi, raw.def_resgid, raw.def_resgid_hi)
    if volume.reserved_blocks and any(reserved_for):
        raise _refuse("blocks reserved for another user than root")
    mine = (sb.geometry.blocks, sb.geometry.free_blocks, sb.block_size, sb.ratio)
    its = (volume.blocks_count, volume.free_blocks, volume.block_size, volume.ratio)
    config = (sb.journal, sb.extents, sb.inline, sb.quota.tracked)
    has = tuple(name in names for name in ("has_journal", "extent", "inline_data", "quota"))
    if mine != its or config != has:
        raise volume.error("superblock", "is not that of the configuration")


def _check_lost_found(fs: Filesystem, record: Record) -> None:
    if not record.is_directory:
        raise _refuse("a lost+found that is no directory")
    if fs.directory(record, fs.mapping(record), fs.xattrs(record)).entries:
        raise _refuse("files in lost+found")


def _name(raw: bytes, record: Record) -> str:
    """The file's name, if the file is one that the model knows."""
    shown = raw.decode("utf-8", "backslashreplace")
    if record.is_directory:
        raise _refuse(f"a subdirectory ({shown})")
    if record.type == stat.S_IFLNK:
        raise _refuse(f"a symbolic link ({shown})")
    if not record.is_regular:
        raise _refuse(f"a special file ({shown})")
    if record.links != 1:
        raise _refuse(f"a file of {record.links} names ({shown})")
    if not _NAME.fullmatch(raw):
        raise _refuse(f"a name that no operation can say ({shown!r})")
    return shown


def _file(mount: Mount, fs: Filesystem, record: Record, name: str) -> Inode:
    xattrs = fs.xattrs(record)
    _check_file(record, xattrs, name)
    inode = Inode(mount.sb, name)
    inode.size = inode.disksize = inode.committed_size = record.size
    inode.uid, inode.gid = record.uid, record.gid
    inode.mode, inode.flags = record.mode, record.flags & _FLAGS
    inode.inline = inode.may_inline = record.is_inline
    if record.is_inline:
        _load_inline(inode, fs, record, xattrs)
    else:
        mapping = fs.mapping(record)
        inode.extents = bool(record.flags & EXTENTS_FL)
        _load_map(inode, fs, record, mapping)
        _load_content(inode, fs, record, mapping)
    if inode.disk_sectors != record.blocks:
        reason = f"{record.blocks} sectors, but {inode.disk_sectors} are mapped"
        raise fs.volume.error(record.structure, reason)
    return inode


def _check_file(record: Record, xattrs: list[Xattr], name: str) -> None:
    if other := record.flags & ~(_FLAGS | EXTENTS_FL | INLINE_DATA_FL):
        raise _refuse(f"the flags {other:#x} ({name})")
    if record.mode & _SPECIAL:
        raise _refuse(f"the mode {record.mode & 0o7777:04o} ({name})")
    if record.project:
        raise _refuse(f"a project ({name})")
    for xattr in xattrs:
        if xattr.name != INLINE_NAME:
            shown = xattr.name.decode("utf-8", "backslashreplace")
            raise _refuse(f"an extended attribute ({shown} of {name})")
    if record.xattr_block:
        raise _refuse(f"a block of extended attributes ({name})")


def _load_inline(inode: Inode, fs: Filesystem, record: Record, xattrs: list[Xattr]) -> None:
    """Data inside the inode (ext4_find_inline_data_nolock)."""
    inode.content.write(0, inline_content(fs.volume, record, xattrs))
    rest = sum(len(xattr.value) for xattr in xattrs)
    inode.inline_size = MIN_INLINE_SIZE + rest


def _load_map(inode: Inode, fs: Filesystem, record: Record, mapping: Mapping) -> None:
    """The map and the tree, which are two books of the same blocks."""
    for extent in mapping.extents:
        state = WRITTEN if extent.written else UNWRITTEN
        inode.es.set(Run(extent.logical, extent.end, state, extent.physical))
    inode.allocated = inode.es.clusters(0, EOF_BLOCK)[1]
    if inode.extents:
        inode.tree = extent_tree_of(fs.volume, record)
        inode.tree_blocks = inode.tree.blocks()
    else:
        inode.indirect = block_map_of(fs.volume, record)
        inode.tree_blocks = inode.indirect.blocks()
    # How much was mapped when the tree grew is not known, only that it did.
    history = inode.extents and inode.tree_blocks
    inode.most_mapped = EOF_BLOCK if history else inode.allocated * inode.sb.ratio


def _load_content(inode: Inode, fs: Filesystem, record: Record, mapping: Mapping) -> None:
    for offset, data in written(fs.volume, mapping, record.structure):
        known = data[: max(inode.size - offset, 0)]
        if known.strip(b"\0"):
            inode.content.write(offset, known)
