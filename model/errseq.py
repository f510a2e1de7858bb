"""What writeback of a file could not write, and who has been told (lib/errseq.c, mm/filemap.c).

The kernel notes it twice: for fsync(2) and its like, which tell each descriptor once, and as a mark
of the page cache, which the next flush inside of an operation takes with it.
"""

from __future__ import annotations

__all__ = ["WritebackErrors"]


class WritebackErrors:
    """The errors of one file since it came into memory: how many `failures` there were, and the one
    that is `marked` for the next flush (AS_ENOSPC, AS_EIO)."""

    def __init__(self) -> None:
        self.failures = 0
        self.marked: str | None = None
        self._last: str | None = None
        self._seen = 0
        self._told: dict[str, int] = {}

    def failed(self, error: str) -> None:
        """Writeback could not write (mapping_set_error)."""
        self.failures += 1
        self.marked = self._last = error

    def opened(self, descriptor: str) -> None:
        """`descriptor` is opened, and will be told of what nobody has been told of yet
        (errseq_sample)."""
        self._told[descriptor] = self.failures if self._seen == self.failures else 0

    def closed(self) -> None:
        """All descriptors are closed, and what they had seen goes with them (f_wb_err)."""
        self._told.clear()

    def untold(self, descriptor: str) -> str | None:
        """The last error since `descriptor` was told, which it is now; no flush tells it any more
        (file_check_and_advance_wb_err)."""
        self.marked = None
        if self._told.get(descriptor, 0) == self.failures:
            return None
        self._told[descriptor] = self._seen = self.failures
        return self._last

    def take_mark(self) -> str | None:
        """The error that the next flush tells, once (filemap_check_errors)."""
        error, self.marked = self.marked, None
        return error
