"""Hypothesis strategies for tests of our own code. Hypothesis is a tool of developers: import
this module in tests only.

Operations are drawn field by field, from what the text form can hold, so that shrinking
leads to small numbers and few operations; `programs_of_seeds` draws what the generators make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import strategies as st

from workloads import generate, ops
from workloads.fields import Field, fields_of
from workloads.ops import BY_WORD, AnyOp
from workloads.program import DEFAULT_CONFIGS, Program

__all__ = ["operations", "programs", "programs_of_seeds"]

PAGE = 4096
SMALL = 64 * PAGE
_EDGES = tuple(edge + by for edge in (0, 1024, PAGE, 2 * PAGE, 16384, 65536) for by in (-1, 0, 1))


def _bytes(field: Field) -> st.SearchStrategy[int]:
    edges = [edge for edge in _EDGES if field.low <= edge <= field.high]
    return st.sampled_from(edges) | st.integers(max(field.low, 0), SMALL)


def _segments(field: Field) -> st.SearchStrategy[Any]:  # noqa: ARG001
    segment = st.tuples(st.integers(0, SMALL), st.none() | st.integers(0, SMALL))
    return st.lists(segment, min_size=1, max_size=3).map(tuple)


_OF_KIND: dict[str, Callable[[Field], st.SearchStrategy[Any]]] = {
    "file": lambda _field: st.sampled_from(("a", "b")),
    "options": lambda _field: st.sampled_from(("delalloc", "barrier", "dioread_lock")),
    "share": lambda _field: st.integers(0, 1000).map(lambda part: part / 1000),
    "segments": _segments,
    "bytes": _bytes,
    "flags": lambda _field: st.sampled_from((0, 0x10, 0x20)),
    "count": lambda _field: st.integers(0, 1000),
}
"""What values of a field of each kind are drawn from."""


def _operation(word: str) -> st.SearchStrategy[AnyOp]:
    cls = BY_WORD[word]
    values = {field.name: _OF_KIND[field.kind](field) for field in fields_of(cls)}
    return cast("st.SearchStrategy[AnyOp]", st.builds(cls, **values))


def operations(*words: str) -> st.SearchStrategy[AnyOp]:
    """One operation of any kind, or of those with these `words`."""
    return st.sampled_from(words or tuple(BY_WORD)).flatmap(_operation)


def programs(
    *words: str, configs: tuple[str, ...] = DEFAULT_CONFIGS, most: int = 12
) -> st.SearchStrategy[Program]:
    """A program of up to `most` operations on one of `configs`."""
    sequences = st.lists(operations(*words), min_size=1, max_size=most).map(_numbered)
    return st.builds(
        Program, st.just("drawn"), sequences, on=st.sampled_from(configs).map(lambda on: (on,))
    )


def _numbered(drawn: list[AnyOp]) -> tuple[AnyOp, ...]:
    """A shutdown is drawn seldom enough if only the last operation may be one."""
    kept = [op for op in drawn[:-1] if not isinstance(op, ops.Shutdown)]
    return (*kept, drawn[-1])


def programs_of_seeds() -> st.SearchStrategy[Program]:
    """What `generate.make` makes."""
    return st.builds(
        generate.make, st.sampled_from(generate.KINDS), st.integers(0, 99), st.integers(0, 9999)
    )
