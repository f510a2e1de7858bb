"""Simpler numbers: toward 0, to whole blocks, to powers of two, to few digits."""

from __future__ import annotations

from harness.minimize.simplicity import number_cost

__all__ = ["simpler_counts", "simpler_numbers", "simpler_shares"]

MOST = 16
"""Candidates for one number of bytes."""


def simpler_numbers(value: int, block: int, low: int = 0) -> list[int]:
    """Numbers of bytes to try in place of `value`, the simplest first.

    `block` is the size of a block in bytes, `low` the least that the argument takes.
    """
    size = abs(value)
    whole = size // block * block
    found = {0, block, 2 * block, whole, whole + block, _power(size), size // 2 // block * block}
    if size % block:
        found |= {1, _power(size) // 2, size // 1000 * 1000, size // 100 * 100, whole + 1, size}
        found |= {size % block, size // 2}
    part = whole // block
    while part := part // 2:  # up to the one just below it, so that a bound is found by halving
        found.add(whole - part * block)
    cost = number_cost(value, block)
    simpler = {n for n in found if n >= low and number_cost(n, block) < cost}
    return sorted(simpler, key=lambda n: number_cost(n, block))[:MOST]


def _power(value: int) -> int:
    """The largest power of two that is no larger than `value`."""
    return 1 << value.bit_length() - 1 if value > 0 else 0


def simpler_counts(value: int) -> list[int]:
    """Users, limits and flags to try in place of `value`: 0, 1, a power of two."""
    return [n for n in dict.fromkeys((0, 1, 1000, _power(value))) if _shorter(n, value)]


def _shorter(one: int, other: int) -> bool:
    return (bool(one), len(str(one)), one) < (bool(other), len(str(other)), other)


def simpler_shares(value: float) -> list[float]:
    """Shares of a file to try in place of `value`: 0, 1, a half, fewer digits."""
    found = dict.fromkeys((0.0, 1.0, 0.5, round(value, 1), round(value, 2)))
    return [share for share in found if len(str(share)) < len(str(value)) or share < value]
