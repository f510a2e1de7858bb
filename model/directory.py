"""What the root directory shows after a shutdown, once caches are dropped (fs/jbd2/commit.c).

An aborted journal lets go of what the running transaction has changed: the directory's block is
clean then, though nobody has written it, and when it is dropped the names of the device are back.
The checkpoint list of an earlier transaction, if the block is on one, keeps it in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from harness.errors import NotModelledError

__all__ = ["Directory"]

UNKNOWN = "whether the directory's block is still cached after the shutdown is not known"
UNKNOWN_INODE = (
    "a name of the device is back after the shutdown; whether its inode is cached still, which is "
    "deleted there, is not known"
)


class Directory:
    """The names in the root directory, where they differ between memory and device."""

    def __init__(self, names: Iterable[str]) -> None:
        self.mounted(names)

    def mounted(self, names: Iterable[str]) -> None:
        """The file system is mounted, with these `names`."""
        self._on_device = frozenset(names)
        self._listed: frozenset[str] | None = None
        self._found: frozenset[str] = frozenset()
        self._checkpoint: bool | None = False
        """Whether the block is on a checkpoint list; None if nobody knows."""
        self._written = False
        self.changed = False
        """Names have come or gone in the running transaction."""
        self._committed = False
        """Transactions have been committed: their checkpoint lists may keep blocks of inodes."""

    def commit(self) -> None:
        """A transaction commits; what has been written since an earlier one leaves that one's list
        (journal_clean_checkpoint_list, which stops at what is in use), or joins this one's."""
        self._committed = True
        if self.changed:
            self._checkpoint = True
            self._written = self.changed = False
        elif self._checkpoint and self._written:
            self._checkpoint = None

    def synced(self, names: Iterable[str]) -> None:
        """sync(2) has written the device's own page cache after a commit."""
        self._on_device = frozenset(names)
        self._written = True

    def drop(self, names: Set[str], held: Set[str]) -> bool:
        """Caches are dropped after a shutdown, before which there were `names`; those `held` by a
        descriptor are found all the same. Returns whether the names of the device are back.
        Raises `NotModelledError`."""
        if self._listed is None:
            if not self.changed or names == self._on_device or self._checkpoint:
                return False
            if self._checkpoint is None:
                raise NotModelledError(UNKNOWN)
            if self._committed and not self._on_device <= names:
                raise NotModelledError(UNKNOWN_INODE)
            self._listed = self._on_device
        self._found = self._listed | held
        return True

    def shows(self, names: Set[str]) -> bool:
        """Whether reading it gives any name, `names` being those before the shutdown."""
        return bool(names if self._listed is None else self._listed)

    def finds(self, name: str, names: Set[str]) -> bool:
        """Whether looking `name` up finds it, `names` being those before the shutdown."""
        return name in (names if self._listed is None else self._found)
