"""Writeback through iomap (v2 13/22, v3 09/22)."""

from __future__ import annotations

from harness.errors import NotModelledError
from model.inode import Inode

__all__ = ["iomap_writepages"]


def iomap_writepages(inode: Inode, start: int = 0, end: int | None = None) -> None:
    """Write the dirty folios that bytes `[start, end)` touch (ext4_iomap_writepages)."""
    raise NotModelledError("the iomap path is not modelled yet")
