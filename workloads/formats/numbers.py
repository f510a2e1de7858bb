"""Numbers as C has them, and most tools that are written in it."""

from __future__ import annotations

__all__ = ["c_number"]


def c_number(text: str) -> int:
    """What strtoll(3) with base 0 makes of 0x1f, 017 or 15, each with a `-` or without.

    Raises `ValueError` with the text where it takes less than all of it, as of 08.
    """
    digits = text.removeprefix("-")
    octal = digits[:1] == "0" and digits[1:].isdecimal()
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        raise ValueError(f"{text[:40]} is no number") from None
