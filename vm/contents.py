"""Contents of files as the guest tells them, turned into checksums.

The other half is `vm/agent/reading.py`: the guest sends what is not zero, in order.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from harness.trace import Content

__all__ = ["Contents"]

_PIECE = 4096
_ZEROES = bytes(1 << 20)

_Run = tuple[int, bytes]
"""Where bytes are in a file, and they themselves."""


class Contents:
    """Collects what was told of one reading of all files."""

    def __init__(self) -> None:
        self._runs: defaultdict[str, list[_Run]] = defaultdict(list)
        self._made: dict[str, Content] = {}

    def add(self, runs: list[tuple[str, int, int]], data: bytes) -> None:
        """Take more of it: files' names, offsets and lengths, and the bytes one after another.

        Raises `ValueError` or `TypeError` if it is no such."""
        if sum(length for _, _, length in runs) != len(data):
            raise ValueError(f"{len(data)} bytes for {runs}")
        done = 0
        for file, at, length in runs:
            before = self._runs[file]
            if at % _PIECE or at < _end(before):
                raise ValueError(f"bytes at {at} of {file} after {_end(before)}")
            before.append((at, data[done : done + length]))
            done += length

    def content(
        self, files: Mapping[str, Mapping[str, Any]], like: Contents | None = None
    ) -> dict[str, Content]:
        """The contents of the files that `files` names, with `size` and `whole`.

        What is as in `like` is not hashed again. Raises as `add` does.
        """
        if extra := self._runs.keys() - files.keys():
            raise ValueError(f"bytes of {min(extra)}, which is no file")
        for name, row in files.items():
            if like is not None and like._same(self, name, row):
                self._made[name] = like._made[name]
            else:
                self._made[name] = _content(row["size"], row["whole"], self._runs[name])
        return dict(self._made)

    def _same(self, other: Contents, name: str, row: Mapping[str, Any]) -> bool:
        made = self._made.get(name)
        if made is None or made.size != row["size"] or (made.sha256 is None) == row["whole"]:
            return False
        return self._runs[name] == other._runs[name]


def _content(size: int, whole: bool, runs: list[_Run]) -> Content:
    if _end(runs) > size:
        raise ValueError(f"bytes up to {_end(runs)} of a file of {size}")
    blocks: dict[int, int] = {}
    for start, data in runs:
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            if not _ZEROES.startswith(piece):
                blocks[(start + at) // _PIECE] = zlib.crc32(piece)
    return Content(size, _sha256(size, runs) if whole else None, blocks)


def _sha256(size: int, runs: list[_Run]) -> str:
    digest = hashlib.sha256()
    done = 0
    for at, data in [*runs, (size, b"")]:
        while done < at:
            zeroes = memoryview(_ZEROES)[: at - done]
            digest.update(zeroes)
            done += len(zeroes)
        digest.update(data)
        done += len(data)
    return digest.hexdigest()


def _end(runs: list[_Run]) -> int:
    return runs[-1][0] + len(runs[-1][1]) if runs else 0
