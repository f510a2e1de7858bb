"""The quota file of the model's image: what each user has, as the image itself says."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.extent_nodes import Slot, mergeable, node_entries
from model.image.filesystem import Filesystem
from model.image.inode import EXTENTS_FL, ROOT
from model.image.layout import INODE
from model.image.volume import SECTOR
from model.image.write_inode import sealed
from model.image.write_quota import QuotaEntry, quota_file
from model.image.write_space import Space
from model.image.write_target import Target
from model.image_tree import extents_as_tree, put_tree
from model.units import ceil_div

if TYPE_CHECKING:
    from model.mount import Mount

__all__ = ["check_quota", "put_quota"]

_OWNER = "the quota file"
_KIB = 1024


def check_quota(fs: Filesystem) -> None:
    """Raise `NotModelledError` for a kind of quota file that is not written."""
    sb = fs.volume.sb
    if sb.grp_quota_inum or sb.prj_quota_inum or not sb.usr_quota_inum:
        raise NotModelledError("quota files of an image other than the users' are not written")
    if not fs.inode(sb.usr_quota_inum).flags & EXTENTS_FL:
        raise NotModelledError("a quota file without extents is not written")


def _entries(mount: Mount, fs: Filesystem, sectors: dict[str, int]) -> dict[int, QuotaEntry]:
    quota, root = mount.sb.quota, fs.inode(ROOT)
    inodes, space = Counter[int](), Counter[int]()
    there = fs.directory(root, fs.mapping(root), fs.xattrs_in(root)).entries
    for inode in (root, *(fs.inode(entry.inode) for entry in there)):
        inodes[inode.uid] += 1
        space[inode.uid] += inode.blocks * SECTOR
    for name, file in mount.files.items():
        inodes[file.uid] += 1
        space[file.uid] += sectors[name] * SECTOR
    space.update(quota.apart)
    uids = sorted(quota.file.uids | quota.limits.keys() | inodes.keys())
    return {
        uid: QuotaEntry(inodes[uid], space[uid], quota.limits.get(uid, 0) // _KIB) for uid in uids
    }


def put_quota(
    mount: Mount, fs: Filesystem, space: Space, target: Target, sectors: dict[str, int]
) -> tuple[int, bytes]:
    """Write the quota file; its inode's number and record, which may have grown.

    `sectors` are the i_blocks of the model's files. The file has as many blocks as the
    model counts for it.
    """
    volume, number = fs.volume, fs.volume.sb.usr_quota_inum
    size = volume.block_size
    inode = fs.inode(number)
    mapping = fs.mapping(inode)
    data = quota_file(_entries(mount, fs, sectors))
    slots = [Slot(e.logical, e.length, e.physical, not e.written) for e in mapping.extents]
    have = sum(slot.length for slot in slots)
    want = max(have, mount.sb.quota.file.length)
    if ceil_div(len(data), size) > want or mapping.tree:
        raise volume.error(_OWNER, f"takes more than {want} blocks")
    ratio = volume.ratio
    bases = {
        block // ratio: slot.pblk + block - slot.first - block % ratio
        for slot in slots
        for block in range(slot.first, slot.end)
    }
    new = sorted({part // ratio for part in range(have, want)} - bases.keys())
    for part, cluster in zip(new, space.find(_OWNER, new), strict=True):
        bases[part] = space.first_block_of(cluster)
    for part in range(have, want):
        slots.append(Slot(part, 1, bases[part // ratio] + part % ratio, unwritten=False))
    slots = _joined(slots)
    for slot in slots:
        piece = data[slot.first * size : slot.end * size].ljust(slot.length * size, b"\0")
        target.put(slot.pblk, piece)
    trees: list[int] = []
    root = extents_as_tree(slots, node_entries(size))
    new_block = partial(_tree_block, space, trees)
    block = put_tree(volume, root, slots, new_block, (target, inode.seed))
    record = inode.record._replace(
        size_lo=max(len(data), inode.size),
        blocks_lo=(len(bases) + len(trees)) * volume.sectors_per_cluster,
        block=block,
    )
    raw = INODE.pack(*record) + inode.raw[INODE.size :]
    return number, sealed(volume, number, raw)


def _joined(slots: list[Slot]) -> list[Slot]:
    """`slots` with as few extents as a kernel needs that allocates one behind the other."""
    found: list[Slot] = []
    for slot in slots:
        if found and mergeable(found[-1], slot):
            found[-1].length += slot.length
        else:
            found.append(slot)
    return found


def _tree_block(space: Space, trees: list[int]) -> int:
    cluster = space.find(_OWNER, [-1 - len(trees)])[0]
    trees.append(space.first_block_of(cluster))
    return trees[-1]
