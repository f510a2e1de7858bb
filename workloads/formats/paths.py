"""Paths of other texts as files of a workload, which are names in one directory."""

from __future__ import annotations

import re

from workloads.fields import BadValue

__all__ = ["Elsewhere", "Paths"]


class Elsewhere(Exception):
    """A path outside of the directory that the workload is about."""


class Paths:
    """Names for paths below `root`, a prefix that stands for the mounted file system.

    Relative paths are taken from `cwd`, the root itself without one. A file in a directory
    below the root gets a name with `_` for `/`, another one if that is taken.
    """

    def __init__(self, root: str | None = None, cwd: str | None = None) -> None:
        self.root = None if root is None else "/" + root.strip("/")
        self.here = "."
        self._names: dict[str, str] = {}
        self._mounted = ""
        if cwd is not None:
            self.enter(cwd)

    def name(self, path: str) -> str:
        """The workload's name for the file at `path`.

        Raises `BadValue` if the path leaves the file system or is no file's, `Elsewhere`
        if it is absolute and not below a root that is known.
        """
        return self._name_of(self.below(path))

    def is_flattened(self, path: str) -> bool:
        """Whether the name of `path` hides a directory."""
        return "/" in self.below(path)

    def below(self, path: str) -> str:
        """`path` relative to the root; "" for the root itself. Raises as `name`."""
        if path.startswith("/"):
            path = self._inside(path)
        elif self.here.startswith("/"):
            path = self._inside(f"{self.here}/{path}")
        else:
            path = path if self.here == "." else f"{self.here}/{path}"
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise BadValue(f'"{path}" leaves the file system by ".."; use plain paths')
        below = "/".join(parts)
        if self._mounted and f"{below}/".startswith(f"{self._mounted}/"):
            return below[len(self._mounted) :].lstrip("/")
        return below

    def mounted_at(self, directory: str) -> None:
        """From now on the root is at the relative path `directory`."""
        self._mounted = self.below(directory)

    def enter(self, path: str) -> None:
        """Take relative paths from `path` on, as chdir(2) does."""
        try:
            self.here = self.below(path) or "."
        except Elsewhere:
            self.here = path if path.startswith("/") else f"{self.here}/{path}"

    def _inside(self, path: str) -> str:
        if self.root is None:
            raise BadValue(
                f'"{path}" is an absolute path; say with --root DIR where the file system was'
            )
        folded = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
        prefix = self.root.rstrip("/") + "/"
        if not f"{folded}/".startswith(prefix):
            raise Elsewhere(path)
        return folded[len(prefix) :]

    def _name_of(self, below: str) -> str:
        if not below:
            raise BadValue("this is the root directory itself; name a file in it")
        if below not in self._names:
            wanted = re.sub(r"[^A-Za-z0-9_.-]", "-", below.replace("/", "_"))[:240]
            name, number = wanted, 1
            while name in self._names.values():
                number += 1
                name = f"{wanted}_{number}"
            self._names[below] = name
        return self._names[below]
