"""Names from an image in a form that can be printed, and is unique."""

from __future__ import annotations

__all__ = ["printable"]

_ESCAPED = {ord("\\"): "\\\\", 0x7F: "\\x7f"} | {code: f"\\x{code:02x}" for code in range(32)}


def printable(name: bytes) -> str:
    """`name` as text: bytes that are no UTF-8, control characters and backslashes escaped.

    Different names give different texts.
    """
    # A backslash of the name is escaped first, so that it cannot pass for an escape.
    text = name.decode("utf-8", "surrogateescape").translate(_ESCAPED)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    """A byte that is no UTF-8 (as surrogateescape left it), or an unprintable character."""
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:06x}"
