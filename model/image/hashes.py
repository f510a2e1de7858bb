"""Hashes of names in directories' hash trees (fs/ext4/hash.c: __ext4fs_dirhash)."""

from __future__ import annotations

import struct

__all__ = ["HASHES", "UNSIGNED", "name_hash"]

HASHES = {0: "legacy", 1: "half_md4", 2: "tea"}
"""Hash versions in a tree's root."""
UNSIGNED = 0x2
"""The superblock's flag (s_flags) for hashing names as unsigned chars."""

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_LARGEST = 0xFFFFFFFE  # stands for the end of a directory, so no name may have it
_SQRT2, _SQRT3 = 0x5A827999, 0x6ED9EBA1  # as in MD4
_DELTA = 0x9E3779B9


def _words(name: bytes, count: int, unsigned: bool) -> list[int]:
    """`count` words of a name, padded with its length (str2hashbuf)."""
    pad = len(name) & 0xFF
    pad |= pad << 8
    pad |= pad << 16
    if len(name) > 0xFF:  # the length is taken modulo 2^32, not as a byte
        pad = len(name) | len(name) << 8
        pad = (pad | pad << 16) & _MASK
    name = name[: count * 4]
    found = []
    for at in range(0, len(name) - len(name) % 4, 4):
        value = 0
        for byte in name[at : at + 4]:
            value = (value << 8) + (byte if unsigned or byte < 128 else byte - 256)
        found.append(value & _MASK)
    if len(found) < count:
        value = pad
        for byte in name[len(found) * 4 :]:
            value = (value << 8) + (byte if unsigned or byte < 128 else byte - 256)
        found.append(value & _MASK)
    return found + [pad] * (count - len(found))


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> (32 - bits)) & _MASK


_ROUNDS = (
    (0, (3, 7, 11, 19), (0, 1, 2, 3, 4, 5, 6, 7)),
    (_SQRT2, (3, 5, 9, 13), (1, 3, 5, 7, 0, 2, 4, 6)),
    (_SQRT3, (3, 9, 11, 15), (3, 7, 2, 6, 1, 5, 0, 4)),
)


def _mix(kind: int, x: int, y: int, z: int) -> int:
    """MD4's selection, majority and parity."""
    if kind == 0:
        return z ^ (x & (y ^ z))
    if kind == 1:
        return (x & y) + ((x ^ y) & z)
    return x ^ y ^ z


def _half_md4(state: list[int], words: list[int]) -> list[int]:
    a, b, c, d = state
    for kind, (constant, shifts, order) in enumerate(_ROUNDS):
        for step, word in enumerate(order):
            mixed = a + _mix(kind, b, c, d) + words[word] + constant
            a, b, c, d = d, _rotate(mixed, shifts[step % 4]), b, c
    return [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]


def _tea(state: list[int], words: list[int]) -> list[int]:
    first, second = state[:2]
    a, b, c, d = words
    total = 0
    for _ in range(16):
        total = (total + _DELTA) & _MASK
        first += ((second << 4) + a) ^ (second + total) ^ ((second >> 5) + b)
        first &= _MASK
        second += ((first << 4) + c) ^ (first + total) ^ ((first >> 5) + d)
        second &= _MASK
    return [(state[0] + first) & _MASK, (state[1] + second) & _MASK, *state[2:]]


def _legacy(name: bytes, unsigned: bool) -> int:
    older, newer = 0x37ABE8F9, 0x12A3FE2D
    for byte in name:
        value = byte if unsigned or byte < 128 else byte - 256
        hashed = (older + (newer ^ (value * 7152373 & _MASK))) & _MASK
        if hashed & 0x80000000:
            hashed = (hashed - 0x7FFFFFFF) & _MASK
        older, newer = newer, hashed
    return newer << 1 & _MASK


def name_hash(name: bytes, version: int, seed: bytes, *, unsigned: bool) -> int:
    """The hash of `name` by which its directory is sorted; `version` as in `HASHES`.

    `seed` is the superblock's hash_seed; all zeros stand for MD4's start.
    """
    if version == 0:
        hashed = _legacy(name, unsigned)
    else:
        state = list(struct.unpack("<4I", seed) if any(seed) else _START)
        step = 32 if version == 1 else 16
        for at in range(0, len(name), step):
            words = _words(name[at:], step // 4, unsigned)
            state = _half_md4(state, words) if version == 1 else _tea(state, words)
        hashed = state[1] if version == 1 else state[0]
    hashed &= ~1
    return _LARGEST - 2 if hashed == _LARGEST else hashed
