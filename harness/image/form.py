"""The canonical form of an image: what two images must share to be equal.

Kept, by path and not by inode number: type, mode, owner, size, links, flags, i_blocks,
extents by state, a digest of the content, extended attributes, a link's target, a
device's number. Of the file system: sizes, free blocks and inodes, features, reserve,
errors, and whether a journal or orphans are left to deal with.

Dropped: times, generation, i_version, checksums, physical and inode numbers, group
placement, UUIDs, hash seed, mount counts, the journal's content, group flags, overhead.

Kept apart in `Shape`, and not compared: what the extent tree looks like, which depends on
how the blocks lie on the disk.
"""

from __future__ import annotations

import msgspec

from harness.extent import Extent

__all__ = ["FORM", "Canonical", "Entry", "Shape", "Whole"]


FORM = "image form"
"""What an image's canonical form is called where it cannot be compared."""


class Whole(msgspec.Struct, frozen=True):
    """The file system as a whole: sizes in bytes, counts of blocks and inodes."""

    block_size: int
    cluster_size: int
    inode_size: int
    blocks: int
    free_blocks: int
    reserved_blocks: int
    inodes: int
    free_inodes: int
    features: tuple[str, ...]
    error_count: int
    needs_recovery: bool
    orphans: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one path leads to.

    `size` is bytes, `blocks` 512-byte sectors (i_blocks), `extents` bytes by state, joined
    where adjacent ones have the same state. `content` is the digest of a regular file.
    `xattrs` are values in hexadecimal, or digests of long ones. `same_as` is the first of
    an inode's paths, if this is another.
    """

    type: str
    mode: str
    uid: int
    gid: int
    project: int
    size: int
    links: int
    flags: str
    blocks: int
    extents: tuple[Extent, ...]
    content: str | None = None
    target: str | None = None
    device: str | None = None
    xattrs: dict[str, str] = {}
    same_as: str | None = None


class Shape(msgspec.Struct, frozen=True):
    """The extent tree: levels below the inode, extents in it, its blocks."""

    depth: int
    extents: int
    tree_blocks: int


class Canonical(msgspec.Struct, frozen=True):
    """An image in canonical form; equal images have equal `whole` and `files`."""

    whole: Whole
    files: dict[str, Entry]
    shapes: dict[str, Shape]

    @property
    def fields(self) -> int:
        """How many fields must be equal in an equal image."""
        of_files = len(self.files) * len(Entry.__struct_fields__)
        return len(Whole.__struct_fields__) + of_files
