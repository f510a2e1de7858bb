"""Bounds on the blocks of an extent tree, for when nobody knows where the file's blocks are.

Physically adjacent extents merge, so that the same map can take few extents or one for each
block, and the tree keeps most of what it once grew.
"""

from __future__ import annotations

from model.extent_nodes import ROOT_ENTRIES, node_entries
from model.extent_status import ExtentStatus
from model.units import DELAYED, INIT_MAX_LEN, UNWRITTEN, UNWRITTEN_MAX_LEN, WRITTEN, ceil_div

__all__ = ["MAX_DEPTH", "tree_bounds"]

MAX_DEPTH = 5
"""EXT4_MAX_EXTENT_DEPTH."""


def tree_bounds(
    es: ExtentStatus, block_size: int, most_mapped: int, by_state: bool
) -> tuple[int, int]:
    """The fewest and the most tree blocks of a file with the map `es`, of which at most
    `most_mapped` blocks were mapped at a time since its tree was last empty. Without
    `by_state` unwritten blocks may be written in truth."""
    entries = node_entries(block_size)
    extents, blocks = _fewest_extents(es, by_state)
    return _packed(extents, entries), _sparse(blocks, most_mapped, entries)


def _fewest_extents(es: ExtentStatus, by_state: bool) -> tuple[int, int]:
    """Extents if all that could be adjacent on the device is, and mapped blocks."""
    runs: list[list[int]] = []
    for run in es:
        if run.state == DELAYED:
            continue
        state = run.state if by_state else WRITTEN
        if runs and runs[-1][1:] == [run.start, state]:
            runs[-1][1] = run.end
        else:
            runs.append([run.start, run.end, state])
    extents = sum(
        ceil_div(end - start, UNWRITTEN_MAX_LEN if state == UNWRITTEN else INIT_MAX_LEN)
        for start, end, state in runs
    )
    return extents, sum(end - start for start, end, _ in runs)


def _packed(extents: int, entries: int) -> int:
    """Tree blocks if each is full, of `entries` entries."""
    total = 0
    while extents > ROOT_ENTRIES:
        extents = ceil_div(extents, entries)
        total += extents
    return total


def _sparse(blocks: int, most: int, entries: int) -> int:
    """Tree blocks if each block is an extent, and each node has been split as early and is
    as empty as can be.

    No node is empty, and one is added beside others only when one of them is full
    (ext4_ext_create_new_leaf): with `entries` in that and one in each other, `n` of them
    need `entries - 1 + n` extents below them. A level is added above more than four nodes.
    """
    total, below, now = 0, most, blocks
    for _ in range(MAX_DEPTH):
        if below <= ROOT_ENTRIES or not blocks:
            break
        below = max(1, below - entries + 1)
        now = min(now, below)
        total += now
    return total
