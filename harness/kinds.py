"""The kind of a difference, in words: how two values differ, without the values.

`larger`, `EIO instead of success`, `delayed instead of hole`: the same for the same fault
whatever the offsets, lengths, names and block sizes of the workload. Of several differences
in a list the first one counts, since the others come and go with what the program did
before. Values are taken as a comparison gives them, or as they come back from JSON (lists
for tuples, words for states).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.differences.shapes_extents import state_changes
from harness.extent import Run, State
from harness.trace import Complaint

__all__ = ["kind_of"]

_ERRNO = re.compile(r"E[A-Z0-9]+|SKIP")
_BOUNDS = re.compile(r"(\d+) to (\d+)")
_ZEROS = "all zero"
_CHECKSUM = re.compile(r"crc32 [0-9a-f]{8}")
_NOTHING = (None, "nothing", "none", "no complaint", "goes on")
"""What stands for a value that one side does not have."""


def kind_of(field: str, expected: object, actual: object) -> str:
    """How `actual` differs from `expected` in `field` (as in `Mismatch`).

    Raises nothing: what is of no known form is `other`.
    """
    title = _title(actual) or _title(expected)
    if title is not None:
        return title if _title(actual) else f"not: {title}"
    if isinstance(expected, bool) and isinstance(actual, bool):
        return "missing" if expected else "not expected"
    bare = field.partition(",")[0].removeprefix("image ")
    return _BY_FIELD.get(bare.partition(" ")[0], _value)(expected, actual)


def _title(value: object) -> str | None:
    """The title of the kernel's complaint that `value` is."""
    if isinstance(value, Complaint):
        return value.title
    return str(value["title"]) if isinstance(value, Mapping) and "title" in value else None


# --- results and plain values -------------------------------------------------------------


def _result(expected: object, actual: object) -> str:
    sides = [_outcome(side) for side in (expected, actual)]
    if sides[0] != sides[1]:
        return f"{sides[1]} instead of {sides[0]}"
    if sides[0] == "data":
        return _data(expected, actual)
    return _value(expected, actual)


def _outcome(value: object) -> str:
    """What a result says, without its number: an errno, `success`, bytes read, data found."""
    if isinstance(value, int):
        return "success"
    if isinstance(value, list | tuple):
        return "data"
    text = str(value)
    return text if _ERRNO.fullmatch(text) else "bytes"


def _value(expected: object, actual: object) -> str:
    first, second = _number(expected, actual), _number(actual, expected)
    if first is not None and second is not None:
        return "larger" if second > first else "smaller"
    texts = [str(side) for side in (expected, actual)]
    if all(text == _ZEROS or _CHECKSUM.fullmatch(text) for text in texts):
        return {0: "zeros instead of data", 1: "data instead of zeros"}.get(
            texts.index(_ZEROS) ^ 1 if _ZEROS in texts else 2, "other data"
        )
    if any(_ERRNO.fullmatch(text) for text in texts):
        return f"{texts[1]} instead of {texts[0]}"
    if expected in _NOTHING:
        return _said(texts[1])
    return "missing" if actual in _NOTHING else "other"


def _number(value: object, other: object) -> float | None:
    """`value` as a number; of bounds (`8 to 24`) the one that `other` is beyond."""
    if isinstance(value, int):
        return value
    bounds = _BOUNDS.fullmatch(str(value))
    if bounds is None or not isinstance(other, int):
        return None
    return float(bounds[1] if other < int(bounds[1]) else bounds[2])


def _said(text: str) -> str:
    """What a check or a panic says, without names and numbers; the first line alone."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = re.sub(r"(?<![\w.])/[^\s:,]*", "PATH", line)
    return re.sub(r"0x[0-9a-f]+|\d[\d.-]*", "N", line).strip()


# --- lists --------------------------------------------------------------------------------


def _states(expected: object, actual: object) -> str:
    """What the first range is in which the extents differ, and what it should be."""
    first, second = _runs(expected), _runs(actual)
    if first is None or second is None:
        return _value(expected, actual)
    changes = state_changes(first, second)
    return f"{changes[0][1] or 'hole'} instead of {changes[0][0] or 'hole'}" if changes else "other"


def _runs(value: Any) -> tuple[Run, ...] | None:
    """`value` as runs of one state, None if it is none."""
    try:
        return tuple((int(start), int(length), State(state)) for start, length, state in value)
    except (TypeError, ValueError):
        return None


def _data(expected: Any, actual: Any) -> str:
    """How two lists of data ranges (`[start, end]`) differ."""
    sides = [
        tuple((start, end - start, State.WRITTEN) for start, end in side)
        for side in (expected, actual)
    ]
    words = {True: "data instead of hole", False: "hole instead of data"}
    changes = state_changes(sides[0], sides[1])
    return words[changes[0][0] is None] if changes else "other"


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _lines(expected: Iterable[str], actual: Iterable[str]) -> str:
    """Which kinds of lines there are more of, or fewer; else that their numbers differ."""
    counts = [Counter(_first_word(line) for line in side) for side in (expected, actual)]
    more, fewer = counts[1] - counts[0], counts[0] - counts[1]
    words = [*(f"more {kind}" for kind in sorted(more)), *(f"fewer {k}" for k in sorted(fewer))]
    return ", ".join(words) or "other numbers"


def _first_word(line: str) -> str:
    return re.sub(r"\d+", "N", line).partition(" N")[0]


def _complaint(_expected: object, actual: object) -> str:
    """What e2fsck or the image's check says, after the name of the subject."""
    return _said(str(actual).partition(": ")[2])


def _counted(expected: object, actual: object) -> str:
    return _lines(_texts(expected), _texts(actual))


_BY_FIELD: dict[str, Callable[[object, object], str]] = {
    "fsck": _complaint,
    "image": _complaint,
    "extents": _states,
    "events": _counted,
    "warnings": _counted,
    "result": _result,
}
"""How fields of special values are told apart; all others by `_value`."""
