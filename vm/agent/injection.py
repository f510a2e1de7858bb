"""Makes what an operation needs fail: the N-th allocation, request to the disk, or call.

The kernel counts down in a task what it could let fail there (`/proc/thread-self/fail-nth`,
`should_fail_ex` in lib/fault-inject.c). It counts only while an operation is executed, so what the
agent itself needs between two operations never fails. What other threads do of it, writeback in a
worker, say, is not counted.
"""

from __future__ import annotations

import errno
import os

from .kernel_files import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Outcome

__all__ = ["Injector"]

DEBUG = "/sys/kernel/debug"
COUNT = "/proc/thread-self/fail-nth"
ALLOCATIONS, REQUESTS = "alloc", "request"
SLABS, PAGES, FUNCTIONS = f"{DEBUG}/failslab", f"{DEBUG}/fail_page_alloc", f"{DEBUG}/fail_function"
_ALL_ALLOCATIONS = (
    (f"{SLABS}/ignore-gfp-wait", "N"),
    (f"{PAGES}/ignore-gfp-wait", "N"),
    (f"{PAGES}/ignore-gfp-highmem", "N"),
    (f"{PAGES}/min-order", "0"),
)
_NO_ALLOCATION = ((f"{SLABS}/cache-filter", "Y"), (f"{PAGES}/min-order", "99"))
_REFUSED = {
    errno.EINVAL: "it has no such function",
    errno.ERANGE: "the function is not in error_injection/list",
}
"""What the kernel's answer to a function's name means (fei_write in kernel/fail_function.c)."""
_ENOMEM = str((1 << 64) - errno.ENOMEM)


class Injector:
    """Lets the `nth` of what `kind` says fail, counted over all operations from now on.

    `kind` is `alloc`, memory of any size; `request`, one to the disk; or a function of the kernel
    that may be made to fail (`error_injection/list` in debugfs). Raises `OSError`, with what is
    missing as its file, where the kernel can't.
    """

    def __init__(self, kind: str, nth: int) -> None:
        for path, value in _ALL_ALLOCATIONS if kind == ALLOCATIONS else _NO_ALLOCATION:
            write_file(path, value)
        if kind == REQUESTS:
            write_file("/sys/block/vda/make-it-fail", "1")
        elif kind != ALLOCATIONS:
            _let_fail(kind)
        counted = kind in {ALLOCATIONS, REQUESTS}
        self._count: _TaskCount | _FunctionCount | None
        self._count = _TaskCount(nth) if counted else _FunctionCount(nth)

    def execute(self, operation: Callable[[], Outcome]) -> tuple[Outcome, bool]:
        """What `operation` returned, and whether something in it was made to fail."""
        if self._count is None:
            return operation(), False
        self._count.go_on()
        try:
            outcome = operation()
        except MemoryError:  # the agent's own
            outcome = "ENOMEM"
        finally:
            failed = self._count.stop()
        if failed:
            self._count = None
        return outcome, failed


class _TaskCount:
    """What may fail, counted by the kernel in this thread."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self._file = os.open(COUNT, os.O_RDWR | os.O_CLOEXEC)

    def go_on(self) -> None:
        """Count."""
        os.pwrite(self._file, b"%d" % self._left, 0)

    def stop(self) -> bool:
        """Count no more; whether the last one has come."""
        self._left = int(os.pread(self._file, 16, 0))
        os.pwrite(self._file, b"0", 0)
        return not self._left


class _FunctionCount:
    """Calls of a function. Its breakpoint is no part of a task to the kernel, so calls by any
    thread count."""

    def __init__(self, nth: int) -> None:
        for name, value in (("interval", nth), ("times", 1), ("probability", 0)):
            write_file(f"{FUNCTIONS}/{name}", str(value))

    def go_on(self) -> None:
        """Count."""
        write_file(f"{FUNCTIONS}/probability", "100")

    def stop(self) -> bool:
        """Count no more; whether the last one has come."""
        write_file(f"{FUNCTIONS}/probability", "0")
        return _read(f"{FUNCTIONS}/times") == "0"


def _let_fail(function: str) -> None:
    """Name the `function` that is to fail, and what it is to return, if that may be chosen."""
    path = f"{FUNCTIONS}/inject"
    try:
        write_file(path, function)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise OSError(error.errno, _REFUSED[error.errno], path) from error
    try:
        write_file(f"{FUNCTIONS}/{function}/retval", _ENOMEM)
    except OSError as error:  # it returns no errno, and what it returns is known
        if error.errno != errno.EINVAL:
            raise


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
