"""The calls of a program by number, those in parallel sections too, so that one can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from workloads.fields import Field, fields_of
from workloads.ops import AnyOp, Call, Parallel
from workloads.sections import default_tag

__all__ = ["ByteField", "default_tags", "map_calls", "names_of", "numbers_of", "valid"]

ByteField = tuple[int, Field, int]
"""The number of a call, one of its fields that counts bytes, and that field's value."""


def map_calls(ops: Iterable[AnyOp], change: Callable[[int, Call], Call]) -> tuple[AnyOp, ...]:
    """`ops` with each call replaced by what `change` makes of its number and itself."""
    changed: list[AnyOp] = []
    number = 0
    for op in ops:
        if not isinstance(op, Parallel):
            changed.append(change(number, op))
            number += 1
            continue
        threads = []
        for thread in op.threads:
            threads.append(tuple(change(number + at, call) for at, call in enumerate(thread)))
            number += len(thread)
        changed.append(msgspec.structs.replace(op, threads=tuple(threads)))
    return tuple(changed)


def default_tags(ops: Iterable[AnyOp]) -> list[int]:
    """The tag of each call that the text form leaves out."""
    tags: list[int] = []
    for index, op in enumerate(ops):
        if isinstance(op, Parallel):
            count = sum(map(len, op.threads))
            tags += [default_tag(index, number) for number in range(count)]
        else:
            tags.append(index + 1)
    return tags


def names_of(each: Iterable[Call]) -> list[str]:
    """The files that the calls name, each once, in the order of the text."""
    found = [
        str(getattr(call, field.name))
        for call in each
        for field in fields_of(type(call))
        if field.kind == "file"
    ]
    return list(dict.fromkeys(found))


def numbers_of(each: Iterable[Call]) -> Iterator[ByteField]:
    """The numbers of bytes in the calls (segments apart)."""
    for number, call in enumerate(each):
        for field in fields_of(type(call)):
            if field.kind == "bytes":
                yield number, field, getattr(call, field.name)


def valid(call: Call) -> bool:
    """Whether each number of `call` is one that the text form could hold."""
    for field in fields_of(type(call)):
        value = getattr(call, field.name)
        if field.kind in ("bytes", "count", "flags") and not field.low <= value <= field.high:
            return False
    return True
