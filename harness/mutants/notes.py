"""What is written down about mutants: which are equivalent and why, and where others showed.

`equivalent.txt` is for people: a mutant's name on a line of its own, below it, indented, why no
workload can tell it from the model. `shown.json` is a memory: where each mutant was found out
last, so that the next run looks there first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.whole_file import write_whole

__all__ = ["EQUIVALENT", "SHOWN", "read_equivalent", "read_shown", "write_shown"]

EQUIVALENT = "equivalent.txt"
SHOWN = "shown.json"


def read_equivalent(folder: Path) -> dict[str, str]:
    """The reason for each equivalent mutant, by name. Raises `UsageError` if one has none."""
    reasons: dict[str, str] = {}
    name = ""
    for line in _text(folder / EQUIVALENT).splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace():
            reasons[name] = f"{reasons[name]} {line.strip()}".strip()
        else:
            name = line.strip()
            reasons[name] = ""
    bare = [name for name, reason in reasons.items() if not reason]
    if bare:
        raise UsageError(f"{folder / EQUIVALENT}: no reason is given for {bare[0]}")
    return reasons


def read_shown(folder: Path) -> dict[str, str]:
    """The case or test that found each mutant out, by the mutant's name. Raises `UsageError`."""
    try:
        return msgspec.json.decode(_text(folder / SHOWN) or "{}", type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{folder / SHOWN} is damaged: {error}; delete it") from error


def write_shown(folder: Path, shown: Mapping[str, str]) -> None:
    """Remember. Raises `UsageError` if it can't be written."""
    text = msgspec.json.format(msgspec.json.encode(dict(sorted(shown.items()))), indent=1)
    try:
        write_whole(folder / SHOWN, text + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {folder / SHOWN}: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
