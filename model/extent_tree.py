"""Extent tree: how many blocks ext4 spends on remembering where a file's blocks are.

Follows fs/ext4/extents.c. A tree block counts in i_blocks, so the model must know the
shape of the tree and not only the mapping: the same mapping can sit in trees of different
size, depending on the order of operations. Growth is undone in two cases only: the tree
becomes empty, or a merge leaves at most four extents in the only leaf of a tree of depth 1.

All numbers are file system blocks, also with bigalloc (where a tree block then costs a
whole cluster). The caller says which physical blocks were allocated; nothing is
allocated here, and running out of journal credits is not modelled.
"""

from __future__ import annotations

from model.extent_growth import GrowingTree, TreeBlockRefused
from model.extent_nodes import (
    EOB,
    ROOT_ENTRIES,
    Branch,
    Extent,
    ExtentTreeError,
    Leaf,
    Path,
    Slot,
    leaves,
    node_entries,
    position,
    remove_from_leaf,
    shift_extents,
    starting_until,
    transfer_end,
)
from model.units import INIT_MAX_LEN, UNWRITTEN_MAX_LEN

__all__ = [
    "EOB", "ROOT_ENTRIES", "Extent", "ExtentTree", "ExtentTreeError", "TreeBlockRefused",
    "node_entries",
]  # fmt: skip


class ExtentTree(GrowingTree):
    """The extent tree of one file, empty at first.

    Blocks are given by their number in the file. Calls that make no sense raise
    `ExtentTreeError` and leave the tree as it was.
    """

    # What the tree says

    def extents(self) -> list[Extent]:
        """All extents by logical block, unmerged ones apart, as they are in the leaves."""
        return [slot.seen() for leaf in leaves(self._root) for slot in leaf.slots]

    def lookup(self, lblk: int) -> Extent | None:
        """The whole extent that holds `lblk`, None in a hole."""
        slot = self._covering(lblk)[1]
        return None if slot is None else slot.seen()

    # What changes it

    def insert(
        self, lblk: int, length: int, pblk: int, unwritten: bool, nomerge: bool = False
    ) -> None:
        """Map `length` blocks from `lblk` to those from `pblk` (ext4_ext_insert_extent).

        `nomerge` is EXT4_GET_BLOCKS_SPLIT_NOMERGE. Raises `ExtentTreeError` if a block is
        mapped already (ext4_ext_check_overlap) or the length is not one extent's.
        """
        longest = UNWRITTEN_MAX_LEN if unwritten else INIT_MAX_LEN
        if not 0 < length <= longest or lblk < 0 or lblk + length > EOB:
            raise ExtentTreeError(f"no extent has {length} blocks from block {lblk}")
        path = self._find(lblk)
        near = path.slot
        if near is not None:
            after = near.first if near.first > lblk else self._next_allocated(path)
            if near.first <= lblk < near.end or lblk + length > after:
                raise ExtentTreeError(f"a block of {lblk}..{lblk + length - 1} is mapped already")
        self._insert(path, Slot(lblk, length, pblk, unwritten), nomerge)

    def split_at(self, lblk: int, nomerge: bool = True) -> None:
        """Let an extent start at `lblk` (ext4_split_extent_at; ext4_force_split_extent_at).

        Nothing happens in a hole or where one starts already. The kernel always splits
        with `nomerge`: the halves would merge again. Raises `TreeBlockRefused`; the extent
        is then as before.
        """
        path, slot = self._covering(lblk)
        if slot is None or slot.first == lblk:
            return
        tail = Slot(lblk, slot.end - lblk, slot.pblk + lblk - slot.first, slot.unwritten)
        slot.length = lblk - slot.first
        try:
            self._insert(path, tail, nomerge)
        except TreeBlockRefused:
            slot.length += tail.length
            raise

    def convert(self, lblk: int, length: int, to_unwritten: bool = False) -> None:
        """Make `length` blocks from `lblk` written, or unwritten (ext4_split_convert_extents),
        as if no tree block were ever refused.

        Written: the end of I/O (ext4_convert_unwritten_extents). Unwritten: see
        `make_unwritten`. Blocks that are in the wanted state already stay as they are. Raises
        `ExtentTreeError` if a block is not mapped.
        """
        end = lblk + length
        self._require_mapped(lblk, end)
        while lblk < end:
            path = self._find(lblk)
            slot = path.leaf.slots[path.at]
            stop = min(end, slot.end)
            if slot.unwritten != to_unwritten:
                if to_unwritten:
                    stop = self.make_unwritten(lblk, end - lblk)[0]
                else:
                    self._split_convert(path, lblk, stop, to_unwritten)
            lblk = stop

    def make_unwritten(
        self, lblk: int, length: int, eof: int = EOB, zeroout: int = EOB
    ) -> tuple[int, bool]:
        """Make written blocks unwritten for ZERO_RANGE (convert_initialized_extent); only the
        extent that holds `lblk` is touched. Returns the block that it came to, and whether
        those before it were zeroed on disk instead and stay written.

        That is done where the split is refused a tree block, if the extent, or the range, ends
        within `eof` (i_disksize rounded up to blocks) and no more than `zeroout` blocks
        (extent_max_zeroout_kb) are asked for; else `TreeBlockRefused` is raised
        (ext4_split_extent). Raises `ExtentTreeError` if `lblk` is not mapped.
        """
        asked = min(lblk + length, self._run_end(lblk)) - lblk
        if asked > UNWRITTEN_MAX_LEN:
            asked = UNWRITTEN_MAX_LEN // 2
        path = self._find(lblk)
        slot = path.leaf.slots[path.at]
        stop = min(lblk + asked, slot.end)
        within = slot.end <= max(eof, lblk + asked)
        try:
            self._split_convert(path, lblk, stop, to_unwritten=True)
        except TreeBlockRefused:
            if not within or asked > zeroout:
                raise
            return stop, True
        return stop, False

    def initialize(self, lblk: int, length: int, eof: int, zeroout: int) -> tuple[int, int]:
        """Write to unwritten blocks without end of I/O (ext4_ext_convert_to_initialized).

        For writes that allocate or convert at once (nodelalloc, dioread_lock): the blocks
        move to a written neighbour if there is one, and the rest of a short extent may be
        zeroed and converted too. `eof` is i_disksize rounded up to blocks, `zeroout` is
        extent_max_zeroout_kb in blocks. Only the extent that holds `lblk` is touched.

        Returns first block and number of the blocks that became written, which can be
        more than asked for, or fewer if the extent ends sooner. Where a split is refused a
        tree block, all of an extent within EOF is zeroed (ext4_split_extent_zeroout), else
        `TreeBlockRefused` is raised. Raises `ExtentTreeError` if `lblk` is not in an
        unwritten extent.
        """
        path, slot = self._require_unwritten(lblk)
        stop = min(lblk + length, slot.end)
        if transfer_end(path, slot, lblk, stop):
            return lblk, stop - lblk
        within = slot.end <= eof
        if not within:
            zeroout = 0
        if zeroout and stop < slot.end:
            if slot.end - lblk <= zeroout:
                stop = slot.end
            if stop - slot.first < zeroout:
                lblk = slot.first
        return self._split_or_zero(path, lblk, stop, within)

    def end_io(self, lblk: int, length: int, eof: int) -> tuple[int, int]:
        """Make blocks written to which I/O has ended (ext4_convert_unwritten_extents_endio).

        Only the extent that holds `lblk` is touched. Returns and raises what `initialize` does.
        """
        path, slot = self._require_unwritten(lblk)
        stop = min(lblk + length, slot.end)
        return self._split_or_zero(path, lblk, stop, slot.end <= max(eof, stop))

    def remove(self, first: int, last: int = EOB - 1) -> None:
        """Unmap blocks `first` to `last` inclusive (ext4_ext_remove_space).

        Without `last` this is truncate. With it, it is a hole punched, and an extent that
        goes on behind the hole is split there first, which can add tree blocks that stay.
        Empty tree blocks go; what is left is not folded into the inode.
        """
        if first > last:
            return
        if last < EOB - 1:
            self.split_at(last + 1)
        self._remove(self._root, first, last)
        if not self._root.slots:
            self._root, self._depth = Leaf([], ROOT_ENTRIES), 0

    def shift(self, first: int, delta: int) -> None:
        """Move all extents from block `first` on by `delta` blocks (ext4_ext_shift_extents).

        To the left (collapse range) the blocks passed over must be holes, so `remove` them
        first. To the right (insert range) an extent across `first` is split there. Extents
        that are or become neighbours in a leaf merge; no tree block goes. Raises
        `ExtentTreeError` if a block would land on another one or past the last number.
        """
        if delta > 0:
            self._require_room(delta)
            self.split_at(first)
        elif delta < 0:
            self._require_hole(first + delta, first)
        if delta:
            shift_extents(self._root, first, delta)

    # What calls require

    def _require(self, lblk: int) -> Slot:
        slot = self._covering(lblk)[1]
        if slot is None:
            raise ExtentTreeError(f"block {lblk} is not mapped")
        return slot

    def _require_unwritten(self, lblk: int) -> tuple[Path, Slot]:
        path, slot = self._covering(lblk)
        if slot is None or not slot.unwritten:
            raise ExtentTreeError(f"block {lblk} is not unwritten")
        return path, slot

    def _require_mapped(self, lblk: int, end: int) -> None:
        while lblk < end:
            lblk = self._require(lblk).end

    def _require_room(self, delta: int) -> None:
        slot = self._find(EOB - 1).slot
        if slot is not None and slot.end + delta > EOB:
            raise ExtentTreeError(f"block {slot.end - 1} cannot move by {delta}")

    def _require_hole(self, first: int, end: int) -> None:
        slot = self._find(end - 1).slot
        if first < 0 or (slot is not None and slot.first < end and slot.end > first):
            raise ExtentTreeError(f"a block of {first}..{end - 1} is mapped")

    # Converting

    def _run_end(self, lblk: int) -> int:
        """Where the written run at `lblk` ends that is also physically contiguous.

        It is one entry of the extent status cache, whatever extents it consists of.
        """
        slot = self._require(lblk)
        while (after := self._covering(slot.end)[1]) is not None:
            if after.unwritten or slot.pblk + slot.length != after.pblk:
                break
            slot = after
        return slot.end

    def _split_convert(self, path: Path, lblk: int, stop: int, to_unwritten: bool) -> None:
        """Convert part of the extent at `path` (ext4_split_extent, ext4_split_convert_extents).

        The right end is split off first. The parts are merged only after both splits, so
        the tree can grow for an extent that is gone a moment later.
        """
        slot = path.leaf.slots[path.at]
        if lblk != slot.first or stop != slot.end:
            self.split_at(stop)
            self.split_at(lblk)
            path = self._find(lblk)
        path.leaf.slots[path.at].unwritten = to_unwritten
        self._try_to_merge(path)

    def _split_or_zero(self, path: Path, lblk: int, stop: int, within: bool) -> tuple[int, int]:
        """Make blocks `[lblk, stop)` of the extent at `path` written, or all that is left of it
        where its split is refused and it is `within` EOF (ext4_split_extent_zeroout). Returns
        first block and number of those that are written now."""
        try:
            self._split_convert(path, lblk, stop, to_unwritten=False)
        except TreeBlockRefused:
            if not within:
                raise
            slot = self._require(lblk)
            slot.unwritten = False
            return slot.first, slot.length
        return lblk, stop - lblk

    # Removing

    def _remove(self, node: Branch | Leaf, first: int, last: int) -> None:
        """Remove below `node`; the caller drops it if it is empty then."""
        if isinstance(node, Leaf):
            remove_from_leaf(node, first, last)
            return
        low = position(node.slots, first)
        high = starting_until(node.slots, last)
        for index in node.slots[low:high]:
            self._remove(index.child, first, last)
            if index.child.slots:
                index.first = index.child.slots[0].first
            else:
                self._free_block()
        node.slots[low:high] = [index for index in node.slots[low:high] if index.child.slots]
