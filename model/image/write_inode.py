"""Inode records as bytes, with their checksums (fs/ext4/inode.c: ext4_do_update_inode)."""

from __future__ import annotations

import struct

import msgspec

from model.image import features
from model.image.checksum import chain
from model.image.inode import HUGE_FILE_FL, inode_checksum
from model.image.layout import EXTRA, INODE, XATTR_ENTRY, ExtraInode, RawInode, XattrEntry
from model.image.volume import SECTOR, Volume
from model.image.xattr import XATTR_MAGIC

__all__ = ["IN_RECORD", "NewInode", "inode_seed", "pack_inode", "sealed"]

IN_RECORD = 60
"""Bytes of inline data in the place of the block numbers; the rest is `system.data`."""

_OLD_SIZE = 128
_CHECKSUM_HI_END = 4
_CHECKSUM_LO, _CHECKSUM_HI = 0x7C, 0x82
_SYSTEM, _DATA = 7, b"data"  # the name index of `system.`, the name behind it


class NewInode(msgspec.Struct, frozen=True):
    """A file's inode: `size` bytes, `sectors` of 512 bytes, the 60 bytes of `block`.

    `inline` is the value of `system.data`, None for a file without inline data; `uid` and
    `gid` own the file.
    """

    mode: int
    uid: int
    size: int
    sectors: int
    flags: int
    block: bytes
    inline: bytes | None = None
    gid: int = 0


def inode_seed(volume: Volume, number: int, generation: int = 0) -> int:
    """What the checksums of an inode's record and blocks start from (i_csum_seed)."""
    return chain(volume.seed, struct.pack("<II", number, generation))


def pack_inode(volume: Volume, number: int, new: NewInode) -> bytes:
    """The record of inode `number`; its times are when the file system was made."""
    made = volume.sb.mkfs_time
    low, high, flags = _blocks(volume, new.sectors)
    record = RawInode(
        mode=new.mode, uid=new.uid & 0xFFFF, size_lo=new.size & 0xFFFFFFFF,
        atime=made, ctime=made, mtime=made, dtime=0, gid=new.gid & 0xFFFF, links_count=1,
        blocks_lo=low, flags=new.flags | flags, version=1, block=new.block, generation=0,
        file_acl_lo=0, size_high=new.size >> 32, obso_faddr=0, blocks_high=high, file_acl_high=0,
        uid_high=new.uid >> 16, gid_high=new.gid >> 16, checksum_lo=0, reserved=0,
    )  # fmt: skip
    raw = INODE.pack(*record)
    if volume.inode_size > _OLD_SIZE:
        raw += _extra(volume, made)
        if new.inline is not None:
            raw += _inline(volume.inode_size - len(raw), new.inline)
    return sealed(volume, number, raw.ljust(volume.inode_size, b"\0"))


def _blocks(volume: Volume, sectors: int) -> tuple[int, int, int]:
    """i_blocks_lo, i_blocks_high and the flag that they count blocks (ext4_inode_blocks_set)."""
    if sectors < 1 << 32:
        return sectors, 0, 0
    if not volume.ro_compat(features.HUGE_FILE):
        raise volume.error("inode", f"{sectors} sectors are too many without huge_file")
    if sectors < 1 << 48:
        return sectors & 0xFFFFFFFF, sectors >> 32, 0
    blocks = sectors // (volume.block_size // SECTOR) & 0xFFFFFFFFFFFF
    return blocks & 0xFFFFFFFF, blocks >> 32, HUGE_FILE_FL


def _extra(volume: Volume, made: int) -> bytes:
    size = volume.sb.want_extra_isize or EXTRA.size
    extra = ExtraInode(
        extra_isize=size, checksum_hi=0, ctime_extra=0, mtime_extra=0, atime_extra=0,
        crtime=made, crtime_extra=0, version_hi=0, projid=0,
    )  # fmt: skip
    return EXTRA.pack(*extra)[:size].ljust(size, b"\0")


def _inline(room: int, value: bytes) -> bytes:
    """The attribute `system.data` behind the extra fields (ext4_create_inline_data)."""
    padded = value + bytes(-len(value) % 4)
    offset = room - 4 - len(padded) if value else 0  # from the first entry
    entry = XattrEntry(
        name_len=len(_DATA), name_index=_SYSTEM, value_offs=offset, value_inum=0,
        value_size=len(value), hash=0,
    )  # fmt: skip
    head = struct.pack("<I", XATTR_MAGIC) + XATTR_ENTRY.pack(*entry) + _DATA
    return head.ljust(room - len(padded), b"\0") + padded


def sealed(volume: Volume, number: int, raw: bytes) -> bytes:
    """The record `raw` with its checksum, if there are any (ext4_inode_csum_set)."""
    if not volume.ro_compat(features.METADATA_CSUM):
        return raw
    record = RawInode._make(INODE.unpack_from(raw))
    extra_isize = struct.unpack_from("<H", raw, _OLD_SIZE)[0] if len(raw) > _OLD_SIZE else 0
    checksum = inode_checksum(inode_seed(volume, number, record.generation), raw, extra_isize)
    changed = bytearray(raw)
    struct.pack_into("<H", changed, _CHECKSUM_LO, checksum & 0xFFFF)
    if extra_isize >= _CHECKSUM_HI_END:
        struct.pack_into("<H", changed, _CHECKSUM_HI, checksum >> 16)
    return bytes(changed)
