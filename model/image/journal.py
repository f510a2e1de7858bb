"""The journal's superblock (include/linux/jbd2.h; the journal is big-endian)."""

from typing import NamedTuple

from model.image.checksum import ONES, chain
from model.image.mapping import Mapping
from model.image.record import B16, U32, U64, layout
from model.image.volume import Volume

__all__ = ["JOURNAL", "JOURNAL_MAGIC", "JournalSuperblock", "read_journal"]

JOURNAL_MAGIC = 0xC03B3998
_SUPERBLOCKS = (3, 4)  # block types: version 1 and 2
_CSUM_V2, _CSUM_V3 = 0x8, 0x10
_CHECKSUM_AT = 0xFC
_LENGTH = 1024


class JournalSuperblock(NamedTuple):
    """journal_superblock_t up to its number of fast commit blocks.

    `start` is the journal block where recovery starts, 0 if there is nothing to recover;
    `errno` the error with which the kernel gave up, as a positive 32-bit number.
    """

    magic: U32
    blocktype: U32
    header_sequence: U32
    blocksize: U32
    maxlen: U32
    first: U32
    sequence: U32
    start: U32
    errno: U32
    feature_compat: U32
    feature_incompat: U32
    feature_ro_compat: U32
    uuid: B16
    nr_users: U32
    dynsuper: U32
    max_transaction: U32
    max_trans_data: U32
    checksum_type: U32
    num_fc_blks: U32
    head: U32
    padding: U64


JOURNAL = layout(JournalSuperblock, order=">")


def read_journal(volume: Volume, mapping: Mapping) -> JournalSuperblock:
    """The superblock of the journal whose inode maps `mapping`, its checksum verified."""
    structure = "journal superblock"
    first = mapping.extents[0] if mapping.extents else None
    if first is None or first.logical or not first.written:
        raise volume.error(structure, "the journal's first block is not mapped")
    raw = volume.read(first.physical, structure)[:_LENGTH]
    journal = JournalSuperblock._make(JOURNAL.unpack_from(raw))
    if journal.magic != JOURNAL_MAGIC or journal.blocktype not in _SUPERBLOCKS:
        raise volume.error(structure, "wrong magic or type", first.physical)
    if journal.blocktype == _SUPERBLOCKS[1] and journal.feature_incompat & (_CSUM_V2 | _CSUM_V3):
        stored = int.from_bytes(raw[_CHECKSUM_AT : _CHECKSUM_AT + 4], "big")
        computed = chain(ONES, raw[:_CHECKSUM_AT] + b"\0\0\0\0" + raw[_CHECKSUM_AT + 4 :])
        volume.check(stored == computed, structure, first.physical)
    mapped = sum(extent.length for extent in mapping.extents)
    if journal.blocksize != volume.block_size or not journal.first < journal.maxlen <= mapped:
        reason = f"{journal.maxlen} blocks of {journal.blocksize} bytes; {mapped} are mapped"
        raise volume.error(structure, reason, first.physical)
    return journal
