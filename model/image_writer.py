"""The model's image: a real ext4 file system that holds what the model says is there.

It begins as the image that the workload started from, which mke2fs made or which was
given, less the files in that. Files are added as the model has them: size, owner, mode,
flags, extents by state, content, and the very nodes of the extent tree. Data lies where the
kernel put it, as far as the model was told; all else (tree blocks, indirect blocks, data
without a known place) takes the first free clusters.

An image is exact or it is refused: `NotModelledError` names what cannot be written,
`ImageError` what contradicts itself. The journal stays empty, as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import NotModelledError
from model.extent_nodes import node_entries
from model.image import features
from model.image.errors import ImageError
from model.image.filesystem import Filesystem
from model.image.inode import EXTENTS_FL, INLINE_DATA_FL, ROOT
from model.image.source import FileSource, MemorySource, Source
from model.image.volume import SECTOR
from model.image.write_directory import with_entries
from model.image.write_groups import put_groups, put_superblock
from model.image.write_indirect import put_block_map
from model.image.write_inode import IN_RECORD, NewInode, inode_seed, pack_inode, sealed
from model.image.write_space import Space
from model.image.write_target import Overlay, Target, copied
from model.image_clear import cleared
from model.image_places import NOWHERE, Place, claim_known, keeps_tree, parts_of, place_rest
from model.image_quota import check_quota, put_quota
from model.image_tree import extents_as_tree, put_tree, split_extents

if TYPE_CHECKING:
    from model.inode import Inode
    from model.mount import Mount

__all__ = ["Written", "image_of", "write_image"]

_PIECE = 1 << 20  # bytes of content written at a time
_BLOCK_AT = 40  # of the block numbers in an inode
_PARENT = 4  # bytes of an inline directory before its entries


class Written(msgspec.Struct, frozen=True):
    """What of an image is the writer's choice.

    `placed` are the files with data of which nobody told a place where it can be; `rebuilt`
    are those of them whose extent tree, and so their i_blocks, need not be a kernel's.
    `undefined` are files of whose content the model does not know all.
    """

    placed: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()


def write_image(mount: Mount, base: Path | bytes, target: Path) -> Written:
    """Write the state of `mount` to the file `target`, beginning with the image `base`.

    `base` is the image that the workload started from. `target` is replaced if it exists.
    Nothing may be delayed: call after a sync or at the end.
    Raises `NotModelledError`, `ImageError`.
    """
    source = FileSource(base) if isinstance(base, Path) else MemorySource(base)
    with Filesystem(source) as opened:
        fs = _start(mount, opened)
        with copied(fs.volume.source, target, fs.volume.block_size) as out:
            return _Writer(mount, fs, out).write()


@contextlib.contextmanager
def image_of(mount: Mount, base: Path | Source) -> Iterator[tuple[Filesystem, Written]]:
    """As `write_image`, but in memory and opened for reading: it costs what is in it.

    Content that is not known is no reason to refuse: `Written.undefined` names the files.
    """
    source = FileSource(base) if isinstance(base, Path) else base
    with Filesystem(source) as opened:
        fs = _start(mount, opened)
        out = Overlay(fs.volume.source, fs.volume.block_size)
        written = _Writer(mount, fs, out, any_content=True).write()
        yield Filesystem(out), written


def _sectors_beyond(inode: Inode) -> int:
    """What the inode on disk lacks of i_blocks as it was when it was written last, in sectors: it
    is marked as huge until it is written again (ext4_inode_blocks_set)."""
    sectors, changed_in = inode.beyond
    return sectors if inode.changed_in == changed_in else 0


def _start(mount: Mount, fs: Filesystem) -> Filesystem:
    """`fs` without files, if it is what `mount` started from and nothing stands in the way."""
    sb, volume = mount.sb, fs.volume
    if (sb.block_size, sb.ratio) != (volume.block_size, volume.ratio) or (
        sb.geometry.blocks,
        sb.geometry.free_blocks,
    ) != (volume.blocks_count, volume.free_blocks):
        raise ImageError(volume.name, "superblock", "is not what the model started from")
    if sb.shut_down:
        raise NotModelledError("an image of a file system that is shut down: mount it again")
    if volume.ro_compat(features.QUOTA):
        check_quota(fs)
    empty = fs if mount.sb.config.image.sha256 == "" else cleared(fs)
    root = empty.inode(ROOT)
    entries = empty.directory(root, empty.mapping(root), empty.xattrs_in(root)).entries
    if any(entry.name != b"lost+found" for entry in entries):
        raise ImageError(volume.name, "root directory", "holds files already")
    return empty


class _Writer:
    """Writes one image; `space` is what is in use, more with each file.

    With `any_content`, whatever is there stands for content that is not known.
    """

    def __init__(
        self, mount: Mount, fs: Filesystem, target: Target, *, any_content: bool = False
    ) -> None:
        self.any_content = any_content
        self.undefined: dict[str, None] = {}
        self.mount, self.fs, self.target = mount, fs, target
        self.volume = fs.volume
        self.before = Space(fs.volume, fs.groups)
        self.space = Space(fs.volume, fs.groups)
        self.sectors: dict[str, int] = {}
        self.rebuilt: set[str] = set()

    def write(self) -> Written:
        files = self.mount.files
        # What the kernel placed comes first: nothing else may take it away.
        known = {name: claim_known(inode, self.space) for name, inode in files.items()}
        places = {name: place_rest(inode, self.space, known[name]) for name, inode in files.items()}
        homeless = {name for name in files if any(place.pblk == NOWHERE for place in known[name])}
        self.rebuilt = {
            name
            for name, inode in files.items()
            if inode.extents and not keeps_tree(inode, places[name])
        }
        numbers = {}
        for name, inode in files.items():
            numbers[name.encode()] = self.space.new_inode()
            self._put_file(inode, numbers[name.encode()], places[name])
        if numbers:
            self._put_names(numbers)
        if self.volume.ro_compat(features.QUOTA):
            number, raw = put_quota(self.mount, self.fs, self.space, self.target, self.sectors)
            self.target.write(self.fs.inodes.offset(number), raw)
        self._check_free()
        put_groups(self.volume, self.fs.groups, self.before, self.space, self.target)
        put_superblock(self.volume, self.space, self.target, self.mount.sb.errors_noted)
        return Written(
            tuple(name for name in files if name in self.rebuilt or name in homeless),
            tuple(name for name in files if name in self.rebuilt),
            tuple(self.undefined),
        )

    def _check_free(self) -> None:
        """What the image has left is what the model counts, if it knows all trees."""
        sb = self.mount.sb
        if sb.space_unknown is not None or self.rebuilt:
            return
        groups = range(self.volume.groups_count)
        free = sum(self.space.free_clusters(group) for group in groups)
        if free != sb.free.sum():
            reason = f"the model counts {sb.free.sum()} free clusters, the image has {free}"
            raise ImageError(self.volume.name, "free space", reason)

    # --- files ------------------------------------------------------------------------

    def _put_file(self, inode: Inode, number: int, places: list[Place]) -> None:
        self._put_content(inode, places)
        new = self._inline(inode) if inode.inline else self._mapped(inode, number, places)
        self.sectors[inode.name] = new.sectors
        self.target.write(self.fs.inodes.offset(number), pack_inode(self.volume, number, new))

    def _put_content(self, inode: Inode, places: list[Place]) -> None:
        """Written blocks as the model reads them, zeros behind the end of the file."""
        size = self.volume.block_size
        for place in places:
            if place.unwritten:
                continue
            start, end = place.first * size, place.end * size
            self._check_content(inode, start, min(end, inode.size))
            for at in range(start, end, _PIECE):
                count = min(_PIECE, end - at)
                data = inode.content.read(at, max(min(count, inode.size - at), 0))
                offset = place.pblk * size + at - start
                self.target.write(offset, data.ljust(count, b"\0"))

    def _check_content(self, inode: Inode, start: int, end: int) -> None:
        if inode.content.knows(start, end):
            return
        if not self.any_content:
            raise NotModelledError(f"an image of {inode.name}, of which content is undefined")
        self.undefined[inode.name] = None

    def _inline(self, inode: Inode) -> NewInode:
        length = max(inode.inline_size, IN_RECORD)
        self._check_content(inode, 0, inode.size)
        data = inode.content.read(0, min(length, inode.size)).ljust(length, b"\0")
        return NewInode(
            mode=inode.mode, uid=inode.uid, size=inode.disksize, sectors=0,
            flags=inode.flags | INLINE_DATA_FL, block=data[:IN_RECORD], inline=data[IN_RECORD:],
            gid=inode.gid,
        )  # fmt: skip

    def _mapped(self, inode: Inode, number: int, places: list[Place]) -> NewInode:
        trees: list[int] = []
        flags = inode.flags
        if inode.extents:
            flags |= EXTENTS_FL
            block = self._extent_root(inode, number, places, trees)
        else:
            block = self._block_map(inode, places, trees)
        parts = parts_of(places, self.volume.ratio)
        clusters = len(parts) + len(trees) - inode.uncharged
        sectors = clusters * (self.volume.cluster_size // SECTOR)
        span = self.volume.block_size // SECTOR << 48
        if inode.name not in self.rebuilt and sectors % span != inode.disk_sectors:
            reason = f"the model counts {inode.disk_sectors} sectors, the image has {sectors}"
            raise ImageError(self.volume.name, f"file {inode.name}", reason)
        return NewInode(
            mode=inode.mode, uid=inode.uid, size=inode.disksize, flags=flags, block=block,
            gid=inode.gid, sectors=sectors % span + _sectors_beyond(inode),
        )  # fmt: skip

    def _new_tree_block(self, inode: Inode, trees: list[int]) -> int:
        """A block of its own cluster for the file's tree."""
        try:
            cluster = self.space.find(inode.name, [-1 - len(trees)])[0]
        except ImageError:
            if not self.rebuilt:  # nor does the model know how many blocks trees take
                raise
            raise NotModelledError(f"an image of {inode.name}: no room for its tree") from None
        trees.append(self.space.first_block_of(cluster))
        return trees[-1]

    def _extent_root(
        self, inode: Inode, number: int, places: list[Place], trees: list[int]
    ) -> bytes:
        root = inode.tree.root
        if inode.name in self.rebuilt:
            places = split_extents(places)
            root = extents_as_tree(places, node_entries(self.volume.block_size))
        seed = inode_seed(self.volume, number)
        new_block = partial(self._new_tree_block, inode, trees)
        return put_tree(self.volume, root, places, new_block, (self.target, seed))

    def _block_map(self, inode: Inode, places: list[Place], trees: list[int]) -> bytes:
        where = {slot.first + at: slot.pblk + at for slot in places for at in range(slot.length)}
        new_block = partial(self._new_tree_block, inode, trees)
        root = inode.indirect.root
        return put_block_map(self.volume, root, where.__getitem__, new_block, self.target)

    # --- names ------------------------------------------------------------------------

    def _put_names(self, numbers: dict[bytes, int]) -> None:
        root = self.fs.inode(ROOT)
        if root.is_inline:
            entries = with_entries(self.volume, root.record.block[_PARENT:], numbers, None)
            at = _BLOCK_AT + _PARENT
            raw = root.raw[:at] + entries + root.raw[at + len(entries) :]
            self.target.write(self.fs.inodes.offset(ROOT), sealed(self.volume, ROOT, raw))
            return
        extents = self.fs.mapping(root).extents
        if [(extent.logical, extent.length) for extent in extents] != [(0, 1)]:
            raise NotModelledError("an image whose root directory is not one block")
        physical = extents[0].physical
        block = self.volume.read(physical, "root directory")
        self.target.put(physical, with_entries(self.volume, block, numbers, root.seed))
