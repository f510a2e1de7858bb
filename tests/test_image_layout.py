"""Records on disk: fields lie where the kernel puts them, and go back as they came."""

from __future__ import annotations

import pytest
from small_image import build, file_at, inode_offset, opened, surveyed

from model.image import layout
from model.image.journal import JOURNAL, JOURNAL_MAGIC, JournalSuperblock, read_journal
from model.image.layout import Superblock
from model.image.record import layout as layout_of

CSUM = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,metadata_csum,extra_isize"
SIZES = {
    "SUPERBLOCK": 1024, "GROUP": 32, "GROUP_HIGH": 32, "INODE": 128, "EXTRA": 32,
    "EXTENT_HEADER": 12, "EXTENT": 12, "XATTR_HEADER": 32, "XATTR_ENTRY": 16,
}  # fmt: skip
OFFSETS = {
    "magic": 0x38, "first_ino": 0x54, "uuid": 0x68, "journal_inum": 0xE0, "hash_seed": 0xEC,
    "desc_size": 0xFE, "blocks_count_hi": 0x150, "flags": 0x160, "mmp_block": 0x168,
    "checksum_type": 0x175, "error_count": 0x194, "first_error_func": 0x1A8,
    "mount_opts": 0x200, "backup_bg_first": 0x24C, "checksum_seed": 0x270,
    "orphan_file_inum": 0x280,
}  # fmt: skip


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes_of_records(name, size):
    assert getattr(layout, name).size == size


@pytest.mark.parametrize(("name", "offset"), OFFSETS.items())
def test_offsets_in_the_superblock(name, offset):
    class Before(Superblock):
        _fields = Superblock._fields[: Superblock._fields.index(name)]

    assert layout_of(Before).size == offset


def test_records_go_back_as_they_came():
    data = build(CSUM)
    raw = data[1024:2048]
    assert layout.SUPERBLOCK.pack(*layout.SUPERBLOCK.unpack(raw)) == raw
    descriptor = data[2048 : 2048 + 64]
    halves = (layout.GROUP.unpack(descriptor[:32]), layout.GROUP_HIGH.unpack(descriptor[32:]))
    packed = layout.GROUP.pack(*halves[0]) + layout.GROUP_HIGH.pack(*halves[1])
    assert packed == descriptor
    file = file_at(data, "/file")
    at = inode_offset(data, file.inode.number)
    assert layout.INODE.pack(*file.inode.record) == data[at : at + 128]
    assert layout.EXTRA.pack(*file.inode.extra) == data[at + 128 : at + 160]
    other = file_at(data, "/other")
    block = data[other.mapping.tree[0] * 1024 :]
    header = layout.EXTENT_HEADER.unpack_from(block)
    assert layout.EXTENT_HEADER.pack(*header) == block[:12]


def test_the_journals_superblock():
    survey = surveyed(build(CSUM))
    mapping = survey.system[8].mapping
    journal = read_journal(survey.fs.volume, mapping)
    assert (journal.magic, journal.maxlen, journal.start) == (JOURNAL_MAGIC, 1024, 0)
    raw = survey.fs.volume.read(mapping.extents[0].physical, "test")[: JOURNAL.size]
    assert JOURNAL.pack(*journal) == raw
    assert JournalSuperblock._make(JOURNAL.unpack(raw)) == journal


def test_creation_times_are_there():
    inode = file_at(build(CSUM), "/file").inode
    assert inode.extra.extra_isize == 32
    assert inode.extra.crtime == 1700000000
    assert opened(build(CSUM)).inode(2).extra.crtime == 1700000000
