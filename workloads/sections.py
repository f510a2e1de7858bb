"""Parallel sections: what may stand in one, and in which orders its calls can have happened.

A section is judged at the quiescent point that ends it: what is seen there must be what
some order of the calls leaves, each call taken as one indivisible step. So only such calls
may stand in it for which that holds, once everything is written back: those that ext4
carries out under the inode's lock, writeback, and stores to one page. (An `append` is none
of them here: what it writes depends on where it lands.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workloads.ops import (
    Call,
    Collapse,
    DropCaches,
    DsyncWrite,
    Falloc,
    FallocKeep,
    Fdatasync,
    FileOp,
    Fsync,
    Insert,
    MmapWrite,
    MsyncWrite,
    Op,
    Parallel,
    Punch,
    Pwritev,
    RangeOp,
    Read,
    Sync,
    SyncRange,
    SyncWrite,
    Truncate,
    Write,
    WriteFault,
    WriteZeroes,
    Zero,
    ZeroKeep,
)

__all__ = [
    "ALLOWED", "AND", "END", "MOST_CALLS", "MOST_THREADS", "Span", "default_tag", "files",
    "of_others", "orders", "problem", "touched",
]  # fmt: skip

AND, END = "and", "end"
"""The words between the threads of a section, and behind the last one."""
MOST_THREADS = 3
MOST_CALLS = 8
"""Calls of one section: 2 threads of 4 calls have 70 orders, 3 threads 560 at the most."""

ALLOWED: tuple[type[Op], ...] = (
    Write, WriteFault, Pwritev, SyncWrite, DsyncWrite, Read, MmapWrite, MsyncWrite,
    Falloc, FallocKeep, Punch, Zero, ZeroKeep, Collapse, Insert, WriteZeroes, Truncate,
    Fsync, Fdatasync, SyncRange, Sync, DropCaches,
)  # fmt: skip

_STORES = (MmapWrite, MsyncWrite)
_SHRINKS = (Truncate, Collapse)

PAGE = 4096
END_OF_OFFSETS = 1 << 63

Span = tuple[int, int]
"""When a call began and ended, on one clock."""


def default_tag(index: int, number: int) -> int:
    """The tag of a section's call that names none: the section is operation `index` of its
    program, the call its `number`th, both counted from 0."""
    return 1000 * (index + 1) + number + 1


def problem(threads: Sequence[Sequence[Call]]) -> str | None:
    """Why these threads can't be a section, or None."""
    if not 2 <= len(threads) <= MOST_THREADS:
        return f"a section has 2 or {MOST_THREADS} threads, with `and` between them"
    if not all(threads):
        return "each thread of a section needs a call"
    if sum(map(len, threads)) > MOST_CALLS:
        return f"a section has at most {MOST_CALLS} calls; split it"
    each = [call for thread in threads for call in thread]
    return next(filter(None, map(_misplaced, each)), None) or _gone_under_a_store(threads)


def _misplaced(call: Call) -> str | None:
    """Why `call` can't stand in a section, or None."""
    word = type(call).WORD
    if not isinstance(call, ALLOWED):
        return f"{word} can't stand in a section; {', '.join(cls.WORD for cls in ALLOWED)} can"
    if isinstance(call, _STORES) and call.off // PAGE != (call.off + call.len - 1) // PAGE:
        return f"{word} {call.file}: in a section, a store is to a single page"
    return None


def _gone_under_a_store(threads: Sequence[Sequence[Call]]) -> str | None:
    """Which call may take away a page that another thread stores to, or None."""
    for number, thread in enumerate(threads):
        stored = {call.file for call in thread if isinstance(call, _STORES)}
        for call in of_others(threads, number):
            if isinstance(call, _SHRINKS) and call.file in stored:
                return (
                    f"{type(call).WORD} {call.file} against a store through a mapping of it:"
                    " the page may be gone when it is stored to (SIGBUS)"
                )
    return None


def of_others(threads: Sequence[Sequence[Call]], number: int) -> Iterator[Call]:
    """The calls of all threads but `number`."""
    for at, thread in enumerate(threads):
        if at != number:
            yield from thread


def orders(section: Parallel, spans: Sequence[Sequence[Span]] = ()) -> Iterator[tuple[int, ...]]:
    """Every order in which the calls can have happened, as the thread of each call.

    A call that had ended before another one began (`spans`, by thread and call) comes
    before it. The order in which the calls ended comes first, if it is one.
    """
    sizes = [len(thread) for thread in section.threads]
    yield from _extended([0] * len(sizes), sizes, (), spans)


def _extended(
    done: list[int], sizes: Sequence[int], so_far: tuple[int, ...], spans: Sequence[Sequence[Span]]
) -> Iterator[tuple[int, ...]]:
    """The orders that begin with `so_far`; `done` calls of each thread are in it."""
    left = [thread for thread, size in enumerate(sizes) if done[thread] < size]
    if not left:
        yield so_far
        return
    if spans:
        left.sort(key=lambda thread: spans[thread][done[thread]][1])
    for thread in left:
        if spans and any(
            spans[other][done[other]][1] < spans[thread][done[thread]][0] for other in left
        ):
            continue  # another thread's next call had ended before this one began
        after = [count + (number == thread) for number, count in enumerate(done)]
        yield from _extended(after, sizes, (*so_far, thread), spans)


def touched(call: Call) -> tuple[str, int, int]:
    """The file that `call` changes, and the first and end byte of what it writes, moves or
    zeroes there (the same where only the size or the blocks change). No file: it changes none.
    """
    if not isinstance(call, FileOp) or isinstance(call, Read | Fsync | Fdatasync | SyncRange):
        return "", 0, 0
    if isinstance(call, Pwritev):
        return call.file, call.off, call.off + sum(length for length, _ in call.segs)
    if isinstance(call, Falloc | FallocKeep):
        return call.file, 0, 0
    if isinstance(call, Truncate):
        return call.file, call.size, END_OF_OFFSETS
    if isinstance(call, Collapse | Insert):
        return call.file, call.off, END_OF_OFFSETS
    assert isinstance(call, RangeOp)
    return call.file, call.off, call.off + call.len


def files(section: Parallel) -> tuple[str, ...]:
    """The files that the section's calls name, each once, in the order of the text."""
    return tuple(
        dict.fromkeys(
            call.file for thread in section.threads for call in thread if isinstance(call, FileOp)
        )
    )
