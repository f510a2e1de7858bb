"""Which lines of the model run.

A line is watched until it has run once, and a function until all its lines have: so watching
costs less and less. Functions count as run with their first line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import model

__all__ = ["MODEL", "Probe", "lines_of"]

MODEL = Path(model.__file__).parent
_ASIDE = ("image", "image_")
"""Modules of model/ that are no part of the write paths: the on-disk format, and writing it."""

Line = tuple[str, int]
"""A module of model/ and a line in it."""


class Probe:
    """Collects what runs inside `watching`."""

    def __init__(self) -> None:
        self.lines: set[Line] = set()
        self.functions: set[str] = set()
        self._left: dict[CodeType, set[int]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what runs in the block; a debugger's own watching is taken up again."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, _event: str, _arg: object) -> Any:
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            left = self._begin(code)
        return self._line if left else None

    def _begin(self, code: CodeType) -> set[int]:
        """Watch a function that runs for the first time."""
        module = _module(code)
        left = self._left[code] = set() if module is None else _lines(code)
        if module is not None:
            self.functions.add(f"{module}.{code.co_qualname}")
            self.lines.add((module, code.co_firstlineno))
        return left

    def _line(self, frame: FrameType, event: str, _arg: object) -> Any:
        left = self._left[frame.f_code]
        if event == "line" and frame.f_lineno in left:
            left.discard(frame.f_lineno)
            self.lines.add((Path(frame.f_code.co_filename).stem, frame.f_lineno))
        return self._line if left else None


def _module(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return path.stem if path.parent == MODEL and not path.stem.startswith(_ASIDE) else None


def _lines(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}


def lines_of() -> dict[str, set[int]]:
    """The lines of functions of the model, by module."""
    found = {}
    for path in sorted(MODEL.glob("*.py")):
        if not path.stem.startswith(_ASIDE):
            whole = compile(path.read_text("utf-8"), str(path), "exec")
            found[path.stem] = {line for code in _functions(whole) for line in _lines(code)}
    return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    for part in code.co_consts:
        if isinstance(part, CodeType):
            if "__qualname__" not in part.co_names:  # the body of a class runs at import
                yield part
            yield from _functions(part)
