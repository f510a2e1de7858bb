"""Let the kernel's own threads finish what an operation has started.

Some operations start writeback without waiting for it (a rename over a file, closing a
file that was truncated, a nearly full file system), and the conversion of unwritten
extents runs in a worker afterwards. Whether an observation saw the one or the other
would be left to chance.

During an operation the agent runs under SCHED_FIFO, so that no kernel thread preempts it:
they run while it waits. Otherwise the writeback that sync(2) wakes first
(`wakeup_flusher_threads`, which starts in the middle of a file) races with the one that it
waits for (`sync_inodes_sb`). SCHED_FIFO alone is not enough: the kernel gives ordinary
tasks their time back when they have starved for about a second (the fair server, before
6.12 RT throttling), and on a busy host the guest is not run for that long now and then. So
`never_preempt` switches that off. After the operation the agent is the least important process
of the only CPU until nothing else runs and no request is under way.
"""

from __future__ import annotations

import os
import time

from .kernel_files import write_if_there

__all__ = ["Settler", "never_preempt"]

_QUIET_LOOKS = 2
"""Looks in a row that must find no request under way: one may lead to the next."""
_NONE = b"%8u %8u\n" % (0, 0)
"""What the kernel says then (part_inflight_show); an emulated guest compares it sooner."""
_PAUSE = 0.0002
_FIRST = (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
_LAST = (os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))
_LONGEST = 20.0
"""Seconds after which the wait ends anyhow; the observation then shows what it shows."""


def never_preempt(debugfs: str = "/sys/kernel/debug", proc: str = "/proc") -> None:
    """Take from the kernel what lets ordinary tasks preempt SCHED_FIFO.

    Kernels that were built without debugfs, or without one of the servers, keep it.
    """
    switches = [(f"{proc}/sys/kernel/sched_rt_runtime_us", "-1")]
    for server in ("fair_server", "ext_server"):
        switches.append((f"{debugfs}/sched/{server}/cpu0/runtime", "0"))
    for path, value in switches:
        write_if_there(path, value)


class Settler:
    """Settles the block device called `disk`, below `sysfs`."""

    def __init__(self, disk: str, sysfs: str = "/sys/block") -> None:
        self._inflight = os.open(f"{sysfs}/{disk}/inflight", os.O_RDONLY | os.O_CLOEXEC)
        self.first()

    def first(self) -> None:
        """Run before every kernel thread."""
        os.sched_setscheduler(0, *_FIRST)

    def settle(self) -> None:
        """Run after every kernel thread, until all is quiet; then before them again."""
        os.sched_setscheduler(0, *_LAST)
        end = 0.0
        quiet = 0
        while quiet < _QUIET_LOOKS:
            os.sched_yield()
            if not self._under_way():
                quiet += 1
                continue
            now = time.monotonic()
            end = end or now + _LONGEST
            if now > end:
                break
            quiet = 0
            time.sleep(_PAUSE)
        self.first()

    def _under_way(self) -> bool:
        said = os.pread(self._inflight, 64, 0)
        return said != _NONE and said.split() != [b"0", b"0"]
