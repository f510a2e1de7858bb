"""Candidates with simpler arguments: kinds of operations, names, tags, numbers, segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import msgspec

from harness.minimize.calls import default_tags, map_calls, names_of, numbers_of, valid
from harness.minimize.numbers import simpler_counts, simpler_numbers, simpler_shares
from harness.minimize.simplicity import NAMES, SIMPLER_KINDS
from workloads.fields import Field, fields_of
from workloads.ops import AnyOp, Call, Op, Parallel, Pwritev, RangeOp, RlimitWrite, calls

__all__ = ["Ops", "equal_numbers", "simpler_calls", "tidied", "with_call"]

Ops = tuple[AnyOp, ...]
Segments = tuple[tuple[int, int | None], ...]


def tidied(ops: Ops, block: int) -> Iterator[Ops]:
    """Everything that changes nothing but how it looks, at once: names, tags, the schedule."""
    yield plain_schedule(with_names(with_tags(ops)))
    yield with_names(with_tags(ops))
    yield with_tags(ops)
    yield with_names(ops)
    yield plain_schedule(ops)
    yield from one_file_less(ops)
    yield from rounded(ops, block)


def with_tags(ops: Ops) -> Ops:
    """Each call has the tag that a reader assumes: 1, 2, ..."""
    tags = default_tags(ops)

    def change(number: int, call: Call) -> Call:
        if any(field.name == "tag" for field in fields_of(type(call))):
            return msgspec.structs.replace(call, tag=tags[number])
        return call

    return map_calls(ops, change)


def with_names(ops: Ops) -> Ops:
    """The files are called a, b, ... in the order in which they come."""
    found = names_of(calls(ops))
    if len(found) > len(NAMES):
        return ops
    return _renamed(ops, dict(zip(found, NAMES, strict=False)))


def plain_schedule(ops: Ops) -> Ops:
    """Parallel sections without a seed and without an order."""
    return tuple(Parallel(threads=op.threads) if isinstance(op, Parallel) else op for op in ops)


def one_file_less(ops: Ops) -> Iterator[Ops]:
    """Two files become one."""
    found = names_of(calls(ops))
    for name in found[1:]:
        yield _renamed(ops, {name: found[0]})


def _renamed(ops: Ops, names: dict[str, str]) -> Ops:
    def change(_number: int, call: Call) -> Call:
        files = [field.name for field in fields_of(type(call)) if field.kind == "file"]
        renamed = {name: names.get(getattr(call, name), getattr(call, name)) for name in files}
        return msgspec.structs.replace(call, **renamed)

    return map_calls(ops, change)


def rounded(ops: Ops, block: int) -> Iterator[Ops]:
    """All numbers of bytes at once: one block, whole blocks; and all moved toward 0."""
    yield _each_number(ops, lambda field, n: n and (block if field.name == "len" else n))
    yield _each_number(ops, lambda _field, n: -(-n // block) * block)
    yield _each_number(ops, lambda _field, n: n // block * block)
    found = {n // block * block for _, _, n in numbers_of(calls(ops))}
    for least in sorted((n for n in found if n > 0), reverse=True):
        yield _each_number(ops, lambda _field, n, less=least: n - less if n >= less else n)  # type: ignore[misc]


def _each_number(ops: Ops, change: Callable[[Field, int], int]) -> Ops:
    def changed(_number: int, call: Call) -> Call:
        values = {
            field.name: change(field, getattr(call, field.name))
            for field in fields_of(type(call))
            if field.kind == "bytes"
        }
        made = msgspec.structs.replace(call, **values)
        return made if valid(made) else call

    return map_calls(ops, changed)


def simpler_calls(call: Call, block: int) -> Iterator[Call]:
    """`call` as one of a simpler kind with the same arguments, its range begun at the start
    of a block, and with one simpler argument; `block` is the size of a block in bytes."""
    return filter(valid, _simpler_calls(call, block))


def _simpler_calls(call: Call, block: int) -> Iterator[Call]:
    for kind in SIMPLER_KINDS.get(type(call), ()):
        yield from _as(kind, call)
    if isinstance(call, RangeOp) and (into := call.off % block):
        yield msgspec.structs.replace(call, off=call.off - into, len=call.len + into)
    for field in fields_of(type(call)):
        for value in _simpler(field, getattr(call, field.name), block):
            yield msgspec.structs.replace(call, **{field.name: value})


def _as(kind: type[Op], call: Call) -> Iterator[Call]:
    """`call` as one of `kind`, with what they have in common and 0 for what they have not."""
    given: dict[str, Any] = {name: getattr(call, name) for name in call.__struct_fields__}
    lengths = [given.get("len", 0)]
    if isinstance(call, RlimitWrite):
        lengths.append(max(0, min(call.len, call.limit - call.off)))
    if isinstance(call, Pwritev):
        lengths = [sum(length for length, _ in call.segs)]
        given["fault"] = _first_fault(call.segs)
    for length in dict.fromkeys(lengths):
        values = {**given, "len": length}
        yield cast(Call, kind(**{name: values.get(name, 0) for name in kind.__struct_fields__}))


def _first_fault(segments: Segments) -> int:
    """The byte of the buffer from which on it is unmapped; its end if nowhere."""
    before = 0
    for length, readable in segments:
        if readable is not None:
            return before + readable
        before += length
    return before


def with_call(ops: Ops, number: int, new: Call) -> Ops:
    """`ops` with `new` for call `number`."""
    return map_calls(ops, lambda at, call: new if at == number else call)


def equal_numbers(ops: Ops, block: int) -> Iterator[Ops]:
    """A number that occurs several times, changed everywhere: an offset and a size, say."""
    counts = Counter(n for _, _, n in numbers_of(calls(ops)) if n)
    for value in sorted((n for n, count in counts.items() if count > 1), reverse=True):
        for other in simpler_numbers(value, block):
            yield _each_number(
                ops,
                lambda _field, n, old=value, new=other: new if n == old else n,  # type: ignore[misc]
            )


def _simpler(field: Field, value: Any, block: int) -> Iterable[Any]:
    """What to try in place of an argument, the simplest first."""
    if field.kind == "bytes":
        return simpler_numbers(value, block, max(field.low, 0))
    if field.kind == "segments":
        return _simpler_segments(value, block)
    if field.kind == "share":
        return simpler_shares(value)
    if field.kind == "options":
        parts = value.split(",")
        shorter = [[*parts[:at], *parts[at + 1 :]] for at in range(len(parts))]
        return [",".join(left) for left in shorter if left]
    if field.kind in ("count", "flags") and field.name != "tag":
        return simpler_counts(value)
    return ()


def _simpler_segments(segments: Segments, block: int) -> Iterator[Segments]:
    """One segment less, or one number of one segment simpler."""
    for at, (length, readable) in enumerate(segments):
        before, after = segments[:at], segments[at + 1 :]
        if before or after:
            yield (*before, *after)
        if readable is not None:
            yield (*before, (length, None), *after)
        for number in simpler_numbers(length, block):
            yield (*before, (number, readable), *after)
        for number in simpler_numbers(readable or 0, block):
            yield (*before, (length, number), *after)
