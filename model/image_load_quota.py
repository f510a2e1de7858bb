"""Users' limits from an image's quota file; what they use follows from the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.image.inode import ROOT
from model.image.quota import read_quota
from model.image_quota import check_quota
from model.quota import KIB

if TYPE_CHECKING:
    from model.image.filesystem import Filesystem
    from model.image.quota import Limits
    from model.mount import Mount

__all__ = ["load_quota"]


def load_quota(mount: Mount, fs: Filesystem) -> None:
    """Take over the limits; the files must be there already.

    Raises `NotModelledError` for what has no place in the model, `ImageError` if usage is
    not what the files have.
    """
    check_quota(fs)
    volume = fs.volume
    inode = fs.inode(volume.sb.usr_quota_inum)
    mapping = fs.mapping(inode)
    found = read_quota(volume, fs.read(inode, mapping))
    quota = mount.sb.quota
    for uid, entry in found.items():
        _check(uid, entry)
        if entry.hard:
            quota.limits[uid] = entry.hard * KIB
    quota.file.reload(set(found), sum(extent.length for extent in mapping.extents))
    for uid in found.keys() | {file.uid for file in mount.files.values()}:
        used = found[uid].space if uid in found else 0
        if used != quota.usage(uid):
            reason = f"user {uid} has {quota.usage(uid)} bytes, but {used} are noted"
            if uid == 0 and _unusual(mount, fs):
                raise NotModelledError("quota with a root directory or lost+found that has grown")
            raise volume.error("quota file", reason)


def _check(uid: int, entry: Limits) -> None:
    if entry.soft or entry.inodes_soft or entry.inodes_hard:
        raise NotModelledError(f"user {uid} has a soft limit or one of inodes: not modelled")


def _unusual(mount: Mount, fs: Filesystem) -> bool:
    """Whether the directories take other space than mke2fs gives them."""
    root = fs.inode(ROOT)
    return root.blocks * 512 != mount.sb.block_size or root.uid != 0
