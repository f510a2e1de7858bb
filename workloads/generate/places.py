"""Where a random operation begins and how long it is: on edges, mostly.

The edges are those of what the sketch shows (runs, EOF) and those of the grid (blocks, pages,
clusters, folios of 64 KiB to 2 MiB), each also one byte, half a kilobyte or a block off.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from workloads.generate.sketch import Sketch

__all__ = ["Places"]

PAGE = 4096
KIB = 1024
LARGEST = 4 * 1024 * KIB
"""Bytes beyond which offsets are chosen only on purpose (`far`)."""


class Places:
    """Offsets and lengths for files of one configuration, in bytes.

    `scale` makes everything larger: on a small disk, large writes are what fills it.
    """

    def __init__(self, random: Callable[[], float], block: int, cluster: int, setting: str) -> None:
        self.random = random
        self.block, self.cluster = block, cluster
        self.grid = (block, PAGE, PAGE, 4 * PAGE, cluster, 64 * KIB, 256 * KIB, 2048 * KIB)
        near = (0, 0, 0, 0, 0, 0, -1, 1, -block, block, -512, 512, 100, -100, PAGE, -PAGE)
        self.beside = near
        usual: tuple[int, ...] = (
            1, 2, 100, 511, 512, block - 1, block, block + 1, 2 * block, PAGE, PAGE, PAGE - 1,
            PAGE + 1, 2 * PAGE, 3 * PAGE + 100, 4 * PAGE, 4 * PAGE, cluster, cluster + 1,
            cluster - 1, 8 * PAGE, 16 * PAGE, 64 * KIB, 64 * KIB - 1, 64 * KIB + 1,
        )  # fmt: skip
        if setting == "many":
            usual = (1, block, block, block, block, 2 * block, PAGE, PAGE, block + 1, 512)
        elif setting == "low":
            usual = (*usual, 256 * KIB, 1024 * KIB, 1024 * KIB, 2048 * KIB, 3072 * KIB + 5)
        self.lengths = usual
        self.large = (128 * KIB, 256 * KIB, 300_000, 1024 * KIB, 2048 * KIB, 2048 * KIB + PAGE)

    def offset(self, sketch: Sketch) -> int:
        """Any offset, most likely near an edge."""
        random = self.random
        share = random()
        at = sketch.at
        if share < 0.42:
            base = at[int(random() * len(at))]
        elif share < 0.60:
            base = sketch.size
        elif share < 0.76:
            step = self.grid[int(random() * 8)]
            base = int(random() * (sketch.size // step + 2)) * step
        elif share < 0.84:
            return int(random() * (sketch.size + 1))
        elif share < 0.90:
            return 0
        else:
            base = sketch.size + int(random() * 40) * self.block
        off = base + self.beside[int(random() * 16)]
        return off if 0 <= off <= LARGEST else 0

    def inside(self, sketch: Sketch) -> int:
        """An offset below EOF, 0 in an empty file."""
        off = self.offset(sketch)
        return off if off < sketch.size else int(self.random() * sketch.size)

    def in_state(self, sketch: Sketch, state: int) -> int:
        """An offset in a run of `state` if a few tries find one, else any."""
        at, states, random = sketch.at, sketch.state, self.random
        for _ in range(3):
            run = int(random() * len(at))
            if states[run] == state:
                end = at[run + 1] if run + 1 < len(at) else at[run] + 16 * PAGE
                part = random()
                if part < 0.5:
                    return at[run]
                return at[run] + (int(part * 2 * (end - at[run])) // 2) // self.block * self.block
        return self.offset(sketch)

    def length(self, sketch: Sketch, off: int) -> int:
        """Bytes: a size at a limit, or up to an edge."""
        random = self.random
        share = random()
        lengths = self.lengths
        if share < 0.55:
            return lengths[int(random() * len(lengths))]
        if share < 0.80:
            at = sketch.at
            edge = bisect_right(at, off) + int(random() * 3)
            if edge < len(at):
                return min(at[edge] - off + self.beside[int(random() * 8)], LARGEST) or 1
            return lengths[int(random() * len(lengths))]
        if share < 0.97:
            return 1 + int(random() * 40_000)
        return self.large[int(random() * 6)]

    def aligned(self, off: int) -> int:
        """`off` on the edge of a cluster."""
        return off - off % self.cluster
