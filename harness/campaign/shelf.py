"""Where a campaign keeps artifacts, within a budget of disk space."""

from __future__ import annotations

from pathlib import Path

from harness.whole_file import write_whole

__all__ = ["Shelf"]


class Shelf:
    """Archives `artifacts/SIGNATURE/NAME` below `folder`, of at most `budget` bytes in all.

    What is too much goes, the oldest first: of signatures with several the further ones, then
    the last ones too. Findings and rows stay (they are in the store); `dropped` counts.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder = folder
        self._budget = budget
        self.dropped = 0

    def put(self, where: str, data: bytes) -> None:
        """Keep `data` as `where` says, whole or not at all. Raises `OSError`, and `ValueError`
        if `where` is no place of an artifact."""
        first, *names = Path(where).parts
        if first != "artifacts" or len(names) != 2 or ".." in names:
            raise ValueError(f"{where} is no place for an artifact")
        path = self._folder / where
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        sizes = {path: path.stat() for path in self._folder.glob("artifacts/*/*")}
        total = sum(found.st_size for found in sizes.values())
        oldest = sorted(sizes, key=lambda path: (sizes[path].st_mtime_ns, path.name))
        firsts = {path.parent: path for path in reversed(oldest)}
        further = [path for path in oldest if firsts[path.parent] != path]
        for path in (*further, *firsts.values()):
            if total <= self._budget:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= sizes[path].st_size
                self.dropped += 1
