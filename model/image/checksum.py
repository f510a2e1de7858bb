"""The checksums of ext4's metadata (fs/ext4/ext4.h: ext4_chksum; lib/crc16.c).

ext4 uses crc32c without the usual inversion before and after, so that parts can be
chained: `chain(chain(seed, a), b) == chain(seed, a + b)`.
"""

from __future__ import annotations

from crc32c import crc32c

__all__ = ["ONES", "chain", "crc16"]

ONES = 0xFFFFFFFF
"""What the chain of checksums starts from."""

_CRC16_POLYNOMIAL = 0xA001


def chain(seed: int, data: bytes) -> int:
    """crc32c of `data` going on from `seed`, 32 bits, not inverted."""
    return crc32c(data, seed ^ ONES) ^ ONES


def _crc16_entry(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (_CRC16_POLYNOMIAL if index & 1 else 0)
    return index


_CRC16 = tuple(_crc16_entry(index) for index in range(256))


def crc16(seed: int, data: bytes) -> int:
    """The 16-bit checksum of group descriptors without metadata_csum."""
    for byte in data:
        seed = seed >> 8 ^ _CRC16[(seed ^ byte) & 0xFF]
    return seed
