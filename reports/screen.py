"""What a terminal can show: colours, and characters that are not ASCII."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from typing import TextIO

__all__ = ["fit", "has_colour"]

_PLAIN = {"·": ".", "…": "~", "⋯": "~", "▲": "^", "–": "-", "—": "-", "×": "x"}
"""One character for one, so that columns stay where they are."""
_HANDLER = "ext4diff.plain"


def has_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether colours may be written: to a terminal that has some, unless `NO_COLOR` is set
    (https://no-color.org)."""
    wanted = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return wanted and stream.isatty()


def fit(stream: object) -> None:
    """Have `stream` write plain characters for those that its encoding lacks, as in the C locale
    or where a log is ASCII; other streams than Python's own files are left as they are."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        codecs.register_error(_HANDLER, _plain)
        reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The handler of an encoding error (`codecs.register_error`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lacking), error.end
