"""An ext4 image, opened for reading: each structure is read when it is asked for."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from model.image import checksum, features
from model.image.content import inline_content
from model.image.directory import Directory, read_directory, read_entries
from model.image.extents import read_extents
from model.image.groups import Groups
from model.image.indirect import read_indirect
from model.image.inode import BAD_BLOCKS, EA_INODE_FL, EXTENTS_FL, ROOT, Inode, InodeTable
from model.image.journal import JournalSuperblock, read_journal
from model.image.mapping import NOTHING, Mapping
from model.image.mmp import check_mmp
from model.image.orphans import orphan_file, orphan_list
from model.image.source import FileSource, Source
from model.image.volume import Volume
from model.image.xattr import Xattr, read_block_xattrs, read_inode_xattrs

__all__ = ["Filesystem"]

_INLINE_FIRST = 60  # of which the first 4 are the parent's inode


class Filesystem:
    """An ext4 image. Use as a context manager, or call `close`.

    Every method raises `ImageError` where a structure is damaged, and verifies checksums
    unless `verify` is false.
    """

    def __init__(self, source: Source, *, verify: bool = True) -> None:
        self.volume = Volume(source, verify=verify)
        self.groups = Groups(self.volume)
        self.inodes = InodeTable(self.volume, self.groups)
        self._values: dict[int, bytes] = {}

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Filesystem:
        """Open the regular file `path`."""
        source = FileSource(path)
        try:
            return cls(source, verify=verify)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self.volume.source.close()

    def __enter__(self) -> Filesystem:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def inode(self, number: int) -> Inode:
        """Inode `number`."""
        return self.inodes[number]

    def mapping(self, inode: Inode) -> Mapping:
        """What `inode` maps."""
        if not inode.has_blocks and inode.number != BAD_BLOCKS:  # which has no type
            return NOTHING
        if inode.flags & EXTENTS_FL:
            return read_extents(self.volume, inode)
        return read_indirect(self.volume, inode)

    def xattrs(self, inode: Inode) -> list[Xattr]:
        """The extended attributes of `inode`, `system.data` among them."""
        found = self.xattrs_in(inode)
        if inode.xattr_block:
            found += read_block_xattrs(self.volume, inode, self._xattr_value)
        if len({xattr.name for xattr in found}) != len(found):
            raise self.volume.error(inode.structure, "an extended attribute occurs twice")
        return found

    def xattrs_in(self, inode: Inode) -> list[Xattr]:
        """Those attributes that lie in the inode's own record."""
        return read_inode_xattrs(self.volume, inode, self._xattr_value)

    def _xattr_value(self, number: int, size: int) -> bytes:
        """The value that inode `number` holds (ext4_xattr_inode_get), its hash verified."""
        known = self._values.get(number)  # many files may share a value
        if known is not None and len(known) == size:
            return known
        inode = self.inode(number)
        structure = f"inode {number}, an attribute's value"
        if not inode.flags & EA_INODE_FL or inode.size != size or not inode.is_regular:
            raise self.volume.error(structure, f"holds no value of {size} bytes")
        value = self.read(inode, self.mapping(inode))
        hashed = checksum.chain(self.volume.seed, value)
        if hashed != inode.record.atime and self.volume.verify_hashes:
            raise self.volume.error(structure, "wrong hash")
        self._values[number] = value
        return value

    def read(self, inode: Inode, mapping: Mapping) -> bytes:
        """All bytes of a small file without holes, as a value or a link's target.

        For files use `content.written`, which does not read holes.
        """
        size, block = inode.size, self.volume.block_size
        blocks = -(-size // block)
        pieces: list[bytes] = []
        for extent in mapping.extents:
            if len(pieces) == blocks:
                break
            if extent.logical != len(pieces) or not extent.written:
                break
            for number in range(extent.physical, extent.physical + extent.length):
                pieces.append(self.volume.read(number, inode.structure))
        if len(pieces) < blocks:
            raise self.volume.error(inode.structure, f"{size} bytes, but not all are written")
        return b"".join(pieces)[:size]

    def target(self, inode: Inode, mapping: Mapping, xattrs: list[Xattr]) -> bytes:
        """Where a symbolic link points."""
        if inode.is_inline:
            target = inline_content(self.volume, inode, xattrs)
        elif inode.is_fast_symlink:
            target = inode.record.block[: inode.size]
            if inode.record.block[inode.size]:  # the kernel refuses it, too
                raise self.volume.error(inode.structure, "a link's target does not end")
        elif inode.size >= self.volume.block_size:
            raise self.volume.error(inode.structure, f"a link's target of {inode.size} bytes")
        else:
            target = self.read(inode, mapping)
        if not target or b"\0" in target:
            raise self.volume.error(inode.structure, "a link's target that cannot be")
        return target

    def directory(self, inode: Inode, mapping: Mapping, xattrs: list[Xattr]) -> Directory:
        """The entries of a directory."""
        if not inode.is_inline:
            return read_directory(self.volume, inode, mapping)
        data = inline_content(self.volume, inode, xattrs)
        structure = f"directory, inode {inode.number}"
        if len(data) < _INLINE_FIRST:
            raise self.volume.error(structure, f"{len(data)} bytes inline")
        parent = int.from_bytes(data[:4], "little")
        entries = []
        for part in (data[4:_INLINE_FIRST], data[_INLINE_FIRST:]):
            entries += read_entries(self.volume, part, 0, structure, None)
        if len({entry.name for entry in entries}) != len(entries):
            raise self.volume.error(structure, "a name occurs twice")
        return Directory(parent, tuple(entries))

    @property
    def system_inodes(self) -> dict[int, str]:
        """Inodes that no directory names, by number, and what each is for."""
        volume, sb = self.volume, self.volume.sb
        found = {ROOT: "root"}
        for number, what, there in (
            (BAD_BLOCKS, "bad blocks", True),
            (7, "resize", volume.compat(features.RESIZE_INODE)),
            (sb.journal_inum, "journal", volume.compat(features.HAS_JOURNAL)),
            (sb.usr_quota_inum, "user quota", volume.ro_compat(features.QUOTA)),
            (sb.grp_quota_inum, "group quota", volume.ro_compat(features.QUOTA)),
            (sb.prj_quota_inum, "project quota", volume.ro_compat(features.QUOTA)),
            (sb.orphan_file_inum, "orphan file", volume.compat(features.ORPHAN_FILE)),
        ):
            if there and number:
                found[number] = what
        return found

    def orphans(self) -> tuple[int, ...]:
        """Inodes that the orphan list and the orphan file name."""
        found = orphan_list(self.volume, self.inodes)
        if self.volume.compat(features.ORPHAN_FILE) and self.volume.sb.orphan_file_inum:
            inode = self.inode(self.volume.sb.orphan_file_inum)
            found += orphan_file(self.volume, inode, self.mapping(inode))
        return found

    def journal(self) -> JournalSuperblock | None:
        """The journal's superblock; None without a journal in this image."""
        if not self.volume.compat(features.HAS_JOURNAL) or not self.volume.sb.journal_inum:
            return None
        return read_journal(self.volume, self.mapping(self.inode(self.volume.sb.journal_inum)))

    def check_mmp(self) -> None:
        """Verify the block that guards against several mounts, if there is one."""
        if self.volume.incompat(features.MMP):
            check_mmp(self.volume)
