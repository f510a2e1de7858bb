"""Where a file's blocks go: where the kernel put them, or where there is room."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.extent_nodes import Slot
from model.image.write_space import Space
from model.units import DELAYED, UNWRITTEN

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["Place", "claim_known", "is_free_choice", "parts_of", "place_rest"]

Place = Slot
"""Blocks of a file that are contiguous on the disk and in one state."""


def is_free_choice(inode: Inode) -> bool:
    """Whether nobody told where some of the file's blocks are."""
    return inode.tree_unknown is not None or any(run.pblk is None for run in inode.es)


def parts_of(places: Iterable[Place], ratio: int) -> set[int]:
    """The file's clusters, counted from its start, that `places` touch."""
    return {
        part
        for place in places
        for part in range(place.first // ratio, (place.end - 1) // ratio + 1)
    }


def claim_known(inode: Inode, space: Space) -> list[Place]:
    """Take the clusters of which the model knows the place; returns them in the file's order.

    Raises `NotModelledError` if something is delayed or dirty, `ImageError` if two want
    one cluster.
    """
    if any(run.state == DELAYED for run in inode.es):
        raise NotModelledError(f"an image while blocks of {inode.name} are delayed: sync first")
    if inode.cache.dirty_starts or inode.size != inode.disksize:
        raise NotModelledError(f"an image while {inode.name} is not written back: sync first")
    _compare(inode, space)
    if inode.extents and inode.tree_unknown is None:
        slots = [Slot(*extent) for extent in inode.tree.extents()]
    else:
        slots = [
            Slot(run.start, run.end - run.start, run.pblk, run.state == UNWRITTEN)
            for run in inode.es
            if run.pblk is not None
        ]
    for slot in slots:
        _claim(inode, space, slot)
    return slots


def _claim(inode: Inode, space: Space, slot: Place) -> None:
    ratio = space.volume.ratio
    if (slot.pblk - space.volume.first_block - slot.first) % ratio:
        raise space.volume.error(
            f"file {inode.name}", f"block {slot.first} lies elsewhere in its cluster", slot.pblk
        )
    for part in sorted(parts_of([slot], ratio)):
        at = max(part * ratio, slot.first)
        space.take(slot.pblk + at - slot.first, (inode.name, part))


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


def place_rest(inode: Inode, space: Space, known: list[Place]) -> list[Place]:
    """All of the file's blocks; those of which nobody said where they are get free clusters."""
    ratio, first = space.volume.ratio, space.volume.first_block
    held = {
        part: space.cluster_of(slot.pblk) + part - slot.first // ratio
        for slot in known
        for part in parts_of([slot], ratio)
    }
    found = [dataclasses.replace(slot) for slot in known]
    for run in inode.es:
        if run.pblk is not None:
            continue
        at = run.start
        while at < run.end:
            part = at // ratio
            stop = min(run.end, (part + 1) * ratio)
            if part not in held:
                held[part] = space.cluster_of(space.find((inode.name, part)))
            block = held[part] * ratio + first + at % ratio
            _append(found, Slot(at, stop - at, block, run.state == UNWRITTEN))
            at = stop
    return sorted(found, key=lambda slot: slot.first)


def _append(found: list[Place], slot: Place) -> None:
    last = found[-1] if found else None
    if (
        last is not None
        and (last.end, last.pblk + last.length) == (slot.first, slot.pblk)
        and last.unwritten == slot.unwritten
    ):
        last.length += slot.length
    else:
        found.append(slot)
