"""Where a file's blocks go: where the kernel put them, or where there is room."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.extent_nodes import Slot
from model.image.write_space import Space
from model.units import DELAYED, UNWRITTEN

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["NOWHERE", "Place", "claim_known", "keeps_tree", "parts_of", "place_rest"]

Place = Slot
"""Blocks of a file that are contiguous on the disk and in one state."""

NOWHERE = -1
"""The place of blocks of which nobody told a place where they can be."""


def parts_of(places: Iterable[Place], ratio: int) -> set[int]:
    """The file's clusters, counted from its start, that `places` touch."""
    return {
        part
        for place in places
        for part in range(place.first // ratio, (place.end - 1) // ratio + 1)
    }


def claim_known(inode: Inode, space: Space) -> list[Place]:
    """The file's extents, in its order; their clusters are taken where the model knows them.

    The others get the place `NOWHERE`: where nobody told one, and where the place cannot be,
    as the model took it for granted when it parted from the kernel (`model.placement`).
    Raises `NotModelledError` if something is delayed or dirty, `ImageError` if the model's
    map is not what its tree says.
    """
    if any(run.state == DELAYED for run in inode.es):
        raise NotModelledError(f"an image while blocks of {inode.name} are delayed: sync first")
    if inode.cache.dirty or inode.size != inode.disksize:
        raise NotModelledError(f"an image while {inode.name} is not written back: sync first")
    if inode.states_unknown is not None:
        raise NotModelledError(f"an image of {inode.name}: {inode.states_unknown}")
    _compare(inode, space)
    if inode.extents and inode.tree_unknown is None:
        slots = [Slot(*extent) for extent in inode.tree.extents()]
    else:
        slots = [
            Slot(
                run.start,
                run.end - run.start,
                NOWHERE if run.pblk is None else run.pblk,
                run.state == UNWRITTEN,
            )
            for run in inode.es
        ]
    for slot in slots:
        if not _claim(inode, space, slot):
            slot.pblk = NOWHERE
    return slots


def _claim(inode: Inode, space: Space, slot: Place) -> bool:
    """Take the clusters of `slot` if all of them can be the file's."""
    ratio = space.volume.ratio
    if not space.volume.valid(slot.pblk, slot.length):
        return False
    if (slot.pblk - space.volume.first_block - slot.first) % ratio:
        return False
    part = slot.first // ratio
    count = (slot.first + slot.length - 1) // ratio + 1 - part
    return space.take(slot.pblk, count, inode.name, part)


def _compare(inode: Inode, space: Space) -> None:
    """The tree and the map are two books of the same blocks."""
    if not inode.extents:
        tree = [(first, first + count, False) for first, count in inode.indirect.ranges()]
    elif inode.tree_unknown is None:
        tree = [(e.lblk, e.lblk + e.length, e.unwritten) for e in inode.tree.extents()]
    else:
        return
    runs = ((run.start, run.end, run.state == UNWRITTEN) for run in inode.es)
    if _joined(tree) != _joined(runs):
        raise space.volume.error(f"file {inode.name}", "the model's map and its tree differ")


def _joined(ranges: Iterable[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    found: list[tuple[int, int, bool]] = []
    for start, end, unwritten in ranges:
        if found and found[-1][1:] == (start, unwritten):
            found[-1] = (found[-1][0], end, unwritten)
        else:
            found.append((start, end, unwritten))
    return found


def keeps_tree(inode: Inode, places: list[Place]) -> bool:
    """Whether the model knows the tree, and `places` are its extents."""
    mine = [(extent.lblk, extent.length) for extent in inode.tree.extents()]
    return inode.tree_unknown is None and mine == [(place.first, place.length) for place in places]


def place_rest(inode: Inode, space: Space, known: list[Place]) -> list[Place]:
    """All of the file's extents with places; those `NOWHERE` get free clusters, in one
    piece if there is room for it."""
    ratio = space.volume.ratio
    held = {
        part: space.cluster_of(slot.pblk) + part - slot.first // ratio
        for slot in known
        if slot.pblk != NOWHERE
        for part in parts_of([slot], ratio)
    }
    found: list[Place] = []
    for slot in known:
        if slot.pblk != NOWHERE:
            found.append(slot)
            continue
        parts = sorted(parts_of([slot], ratio))
        new = [part for part in parts if part not in held]
        held.update(zip(new, space.find(inode.name, new), strict=True))
        found += _pieces(space, slot, held)
    return found


def _pieces(space: Space, slot: Place, held: dict[int, int]) -> list[Place]:
    """`slot`, cut where the clusters that `held` gives its parts do not follow each other."""
    ratio = space.volume.ratio
    found: list[Place] = []
    for part in sorted(parts_of([slot], ratio)):
        start, end = max(part * ratio, slot.first), min((part + 1) * ratio, slot.end)
        block = space.first_block_of(held[part]) + start - part * ratio
        last = found[-1] if found else None
        if last is not None and last.pblk + last.length == block:
            last.length += end - start
        else:
            found.append(Slot(start, end - start, block, slot.unwritten))
    return found
