"""Descriptors of the files that a workload uses, opened at first use."""

from __future__ import annotations

import os

__all__ = ["Files"]


class Files:
    """The open files below the directory `root`.

    A file's main descriptor is `O_RDWR|O_CREAT` with mode 0644; further ones (O_APPEND,
    O_DIRECT, O_SYNC, O_DSYNC) are opened beside it at their first use. All stay open
    until `close`.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._open: dict[str, dict[int, int]] = {}

    def path(self, name: str) -> str:
        """Where file `name` is."""
        return f"{self.root}/{name}"

    def main(self, name: str) -> int:
        """The main descriptor of `name`; opens, and creates, it if need be."""
        known = self._open.setdefault(name, {})
        if 0 not in known:
            try:
                known[0] = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            finally:
                if not known:
                    del self._open[name]
        return known[0]

    def also(self, name: str, flag: int) -> int:
        """A second descriptor of `name`, `O_RDWR|flag`, beside the main one."""
        self.main(name)
        known = self._open[name]
        if flag not in known:
            known[flag] = os.open(self.path(name), os.O_RDWR | flag | os.O_CLOEXEC)
        return known[flag]

    def opened(self, name: str) -> int | None:
        """The main descriptor of `name` if it is open."""
        return self._open.get(name, {}).get(0)

    def close(self, name: str) -> None:
        """Close all descriptors of `name`, the later ones first."""
        for fd in reversed(list(self._open.pop(name, {}).values())):
            os.close(fd)

    def close_all(self) -> None:
        """Close everything, in the order of first use."""
        for name in list(self._open):
            self.close(name)
