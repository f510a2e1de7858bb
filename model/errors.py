"""How an operation inside the model fails."""

from __future__ import annotations

__all__ = ["OpError", "TreesCount"]


class OpError(Exception):
    """A system call returns an error; `name` is the errno's name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TreesCount(Exception):
    """A run that leaves the extent trees out (`Superblock.without_trees`) has come to where a
    result may depend on them."""
