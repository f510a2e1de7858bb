"""The block that guards against several mounts (fs/ext4/mmp.c)."""

from __future__ import annotations

from model.image.checksum import chain
from model.image.layout import MMP, MmpRecord
from model.image.volume import Volume

__all__ = ["MMP_MAGIC", "check_mmp"]

MMP_MAGIC = 0x004D4D50
_CHECKSUM_AT = 0x3FC


def check_mmp(volume: Volume) -> MmpRecord:
    """The record, its magic and checksum verified."""
    block, structure = volume.sb.mmp_block, "multi-mount protection"
    raw = volume.read(block, structure)
    record = MmpRecord._make(MMP.unpack_from(raw))
    if record.magic != MMP_MAGIC:
        raise volume.error(structure, "wrong magic", block)
    if volume.verify:
        stored = int.from_bytes(raw[_CHECKSUM_AT : _CHECKSUM_AT + 4], "little")
        volume.check(chain(volume.seed, raw[:_CHECKSUM_AT]) == stored, structure, block)
    return record
