"""One walk over an image: every inode in use, what it maps, and who uses which blocks."""

from __future__ import annotations

import stat
from functools import cached_property

import msgspec

from harness.image.names import printable
from model.image.content import inline_content
from model.image.directory import Directory, Entry
from model.image.filesystem import Filesystem
from model.image.inode import BAD_BLOCKS, EA_INODE_FL, ROOT, Inode
from model.image.mapping import Mapping
from model.image.usage import Usage
from model.image.xattr import Xattr

__all__ = ["File", "Survey"]

_RESIZE = 7
_LONGEST = 1 << 14  # characters of a path; nested folders would take memory without bound


class File(msgspec.Struct):
    """An inode in use.

    `paths` are all its names, `target` is where a link points, `inline` content that lies
    in the inode; `parent` is the inode of the directory where it was met first.
    """

    inode: Inode
    mapping: Mapping
    xattrs: list[Xattr]
    paths: list[str]
    directory: Directory | None = None
    subdirectories: int = 0
    parent: int = 0
    target: bytes | None = None
    inline: bytes | None = None


class Survey:
    """What is in an image.

    `files` are the inodes that directories name, `system` those that the superblock
    names, `values` those that hold extended attributes' values, all by number; `orphans`
    are the inodes that wait for deletion or truncation, by number.

    Raises `ImageError` if a structure is damaged, a directory is reached twice, or blocks
    are used twice so often that they are more than there are.
    """

    def __init__(self, fs: Filesystem) -> None:
        self.fs = fs
        self.usage = Usage(fs.volume, fs.groups)
        self.files: dict[int, File] = {}
        self.system: dict[int, File] = {}
        self.values: dict[int, File] = {}
        self.orphans: dict[int, File | None] = {}
        self.references: dict[int, int] = {}
        """How often the inode of a value is referred to."""
        self.shared: dict[int, int] = {}
        """How many inodes share an attribute block."""
        self._system = fs.system_inodes
        self._walk()
        for number in self._system:
            if number != ROOT:
                self.system[number] = self._system_file(number)
        for number in fs.orphans():
            self._orphan(number)
        fs.check_mmp()

    @cached_property
    def by_path(self) -> dict[str, File]:
        """The files by each of their names."""
        return {path: file for file in self.files.values() for path in file.paths}

    def _walk(self) -> None:
        todo = [self._add(ROOT, "/", ROOT, "the superblock")]
        while todo:
            directory = todo.pop()
            assert directory.directory is not None
            prefix = directory.paths[0].rstrip("/")
            for entry in directory.directory.entries:
                path = f"{prefix}/{printable(entry.name)}"
                if len(path) > _LONGEST:
                    structure = directory.inode.structure
                    raise self.fs.volume.error(structure, f"path longer than {_LONGEST}")
                found = self._enter(entry, path, directory)
                if found is not None and found.directory is not None:
                    directory.subdirectories += 1
                    todo.append(found)

    def _enter(self, entry: Entry, path: str, directory: File) -> File | None:
        """The file of a directory's entry, if it is met for the first time."""
        known = self.files.get(entry.inode)
        if known is None:
            return self._add(entry.inode, path, directory.inode.number, path)
        if known.directory is not None:
            reason = f"directory reached twice, as {known.paths[0]} and {path}"
            raise self.fs.volume.error(known.inode.structure, reason)
        known.paths.append(path)
        return None

    def _add(self, number: int, path: str, parent: int, named: str) -> File:
        volume = self.fs.volume
        reserved = number < volume.first_inode or number in self._system
        if reserved and named != "the superblock":
            raise volume.error(f"inode {number}", f"is reserved, but {named} names it")
        found = self.files[number] = self._file(self.fs.inode(number))
        found.paths.append(path)
        found.parent = parent
        inode = found.inode
        if inode.flags & EA_INODE_FL:
            raise volume.error(inode.structure, f"holds an attribute's value, but {path} names it")
        if inode.is_directory:
            found.directory = self.fs.directory(inode, found.mapping, found.xattrs)
        elif number == ROOT:
            raise volume.error(inode.structure, "the root is no directory")
        elif inode.type == stat.S_IFLNK:
            found.target = self.fs.target(inode, found.mapping, found.xattrs)
        elif inode.is_inline:
            found.inline = inline_content(volume, inode, found.xattrs)
        return found

    def _file(self, inode: Inode) -> File:
        """`inode` with what it maps, its blocks claimed."""
        found = File(inode, self.fs.mapping(inode), [], [])
        for extent in found.mapping.extents:
            self.usage.claim(extent.physical, extent.length, inode.number)
        for block in found.mapping.tree:
            self.usage.claim(block, 1, inode.number)
        if inode.number != BAD_BLOCKS:
            self._take_xattrs(found)
        return found

    def _take_xattrs(self, found: File) -> None:
        inode, block = found.inode, found.inode.xattr_block
        if block:
            self.shared[block] = self.shared.get(block, 0) + 1
            if self.shared[block] == 1:
                self.usage.claim(block, 1, inode.number)
        found.xattrs = self.fs.xattrs(inode)
        inside = len(self.fs.xattrs_in(inode)) if block else len(found.xattrs)
        for number, xattr in enumerate(found.xattrs):
            if not xattr.inode:
                continue
            # A shared block refers once, however many inodes share it.
            if number < inside or self.shared[block] == 1:
                self.references[xattr.inode] = self.references.get(xattr.inode, 0) + 1
            if xattr.inode not in self.values:
                self.values[xattr.inode] = self._file(self.fs.inode(xattr.inode))

    def _system_file(self, number: int) -> File:
        inode = self.fs.inode(number)
        if number != _RESIZE:
            return self._file(inode)
        # The blocks below its first are the groups' reserve and counted there.
        mapping = self.fs.mapping(inode)
        for block in mapping.tree[:1]:
            self.usage.claim(block, 1, number)
        return File(inode, mapping, [], [])

    def _orphan(self, number: int) -> None:
        if number in self.orphans:
            return
        if number in self._system:
            raise self.fs.volume.error("orphan list", f"names the reserved inode {number}")
        if number in self.files:  # waits for truncation
            self.orphans[number] = None
            return
        found = self.orphans[number] = self._file(self.fs.inode(number))
        if stat.S_ISDIR(found.inode.mode):
            found.directory = self.fs.directory(found.inode, found.mapping, found.xattrs)
