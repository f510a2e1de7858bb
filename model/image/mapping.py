"""What an inode maps: extents and the blocks of the tree that holds them."""

from __future__ import annotations

import msgspec

__all__ = ["NOTHING", "Extent", "Mapping"]


class Extent(msgspec.Struct, frozen=True):
    """`length` blocks of a file from block `logical` on, at block `physical` of the volume."""

    logical: int
    length: int
    physical: int
    written: bool = True

    @property
    def end(self) -> int:
        """The file's block after the last."""
        return self.logical + self.length


class Mapping(msgspec.Struct, frozen=True):
    """Extents as they lie in the tree, in the file's order.

    `tree` are the blocks of the tree's nodes outside the inode (extent nodes, indirect
    blocks); `depth` is the extent tree's, or the levels of indirection.
    """

    extents: tuple[Extent, ...] = ()
    tree: tuple[int, ...] = ()
    depth: int = 0


NOTHING = Mapping()
