"""Parallel sections: the calls of several threads, taken in one order.

A section is judged at a quiescent point, after sync(2). Each of its calls is atomic there:
ext4 writes, allocates, punches and truncates under the inode's lock (`inode_lock` in
`ext4_buffered_write_iter`, `ext4_fallocate`, `ext4_setattr`), writeback takes whole folios,
and a store is to one page. So one order of the calls tells what is seen; the harness looks
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.errors import NotModelledError
from harness.trace import Ran, Result
from model.access import open_all
from model.errors import OpError
from model.mount import Mount
from model.placement import Shift
from workloads import ops
from workloads.sections import of_others, touched

__all__ = ["EVENTS", "run_section"]

EVENTS = "the calls of a parallel section overlap"
"""Why the events of a section are not predicted."""

TREE_BLOCKS = 8
"""More than one call of a section adds to an extent tree, for the sake of the estimate."""
_STORES = (ops.MmapWrite, ops.MsyncWrite)


def run_section(
    mount: Mount, section: ops.Parallel, run: Callable[[Mount, ops.Call], Result]
) -> tuple[tuple[tuple[Ran, ...], ...], dict[str, str]]:
    """Take the calls of `section` in its order, each by `run`, then sync(2).

    Returns what the calls came to, by thread, and why some of that is no prediction: a read
    sees part of what another thread writes meanwhile. Bytes that one thread stores through
    a mapping while another one writes or zeroes them can't be known afterwards. Raises
    `NotModelledError` where space may run short: then the calls share it folio by folio; and
    `OpError` if a file can't be opened, before any call is made.
    """
    mount.sb.rule("parallel: inode_lock")
    open_all(mount, ops.calls((section,)))
    _refuse_short_space(mount, section)
    results: list[list[Ran]] = [[] for _ in section.threads]
    order = section.order or tuple(
        number for number, calls in enumerate(section.threads) for _ in calls
    )
    calls = [iter(section.threads[number]) for number in range(len(section.threads))]
    taken = [(thread, next(calls[thread])) for thread in order]
    for at, (thread, call) in enumerate(taken):
        mount.sb.placer.moves(_shifts(mount, [later for _, later in taken[at + 1 :]]))
        try:
            results[thread].append(Ran(run(mount, call)))
        except OpError as error:
            results[thread].append(Ran(error.name))
    mount.sb.placer.moves(())
    for name, start, end in _raced(section):
        mount.files[name].content.lose(start, min(end, mount.files[name].size))
    mount.sync_all()
    return tuple(map(tuple, results)), dict(_unpredicted(section))


def _shifts(mount: Mount, later: list[ops.Call]) -> Iterator[tuple[str, Shift]]:
    """What the calls `later` shift, unless they fail, which only the size of the file then
    tells."""
    block = mount.sb.block_size
    for call in later:
        if not isinstance(call, ops.Collapse | ops.Insert) or not mount.sb.extents:
            continue
        unit = block * mount.sb.ratio
        if call.off >= 0 and call.len > 0 and call.off % unit == call.len % unit == 0:
            first, count = call.off // block, call.len // block
            gone, delta = (count, -count) if isinstance(call, ops.Collapse) else (0, count)
            yield call.file, (first, gone, delta)


def _refuse_short_space(mount: Mount, section: ops.Parallel) -> None:
    """Raise `NotModelledError` unless all calls together can neither run out of space nor make
    ext4_nonda_switch() change its mind."""
    sb = mount.sb
    wanted = 0
    for call in ops.calls((section,)):
        file, start, end = touched(call)
        if not file or isinstance(call, ops.Collapse | ops.Insert | ops.Truncate):
            continue
        length = call.len if isinstance(call, ops.Falloc | ops.FallocKeep) else end - start
        wanted += length // (sb.block_size * sb.ratio) + 2 + TREE_BLOCKS
    kept = sb.watermark + sb.r_blocks + sb.resv
    if wanted and sb.free.sum() < 3 * (sb.dirty.sum() + wanted) + kept:
        raise NotModelledError("threads that share the last free space are not modelled")


def _raced(section: ops.Parallel) -> Iterator[tuple[str, int, int]]:
    """File, first and end byte of what a store and a call of another thread both change."""
    for number, thread in enumerate(section.threads):
        for store in (call for call in thread if isinstance(call, _STORES)):
            for other in of_others(section.threads, number):
                name, start, end = touched(other)
                low, high = max(start, store.off), min(end, store.off + store.len)
                if name == store.file and low < high:
                    yield name, low, high


def _unpredicted(section: ops.Parallel) -> Iterator[tuple[str, str]]:
    yield "events", EVENTS
    for number, thread in enumerate(section.threads):
        for place, call in enumerate(thread):
            if isinstance(call, ops.Read) and any(
                touched(other)[0] == call.file for other in of_others(section.threads, number)
            ):
                yield f"result.{number}.{place}", "another thread changes the file meanwhile"
