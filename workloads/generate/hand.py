"""What all makers of operations have at hand: chance, the plan, and sketches of the files."""

from __future__ import annotations

from workloads.generate.dice import Dice
from workloads.generate.places import Places
from workloads.generate.plan import Plan
from workloads.generate.sketch import DIRTY, Sketch

__all__ = ["FILES", "KIB", "USER", "Hand"]

KIB = 1024
USER = 1000
"""The user with a limit."""
FILES = ("a", "b", "c", "d", "e", "f", "g")

REFUSED = 1 << 45
"""Bytes beyond which no file is large enough."""


class Hand:
    """State of one program while it is made; `tag` is the next operation's."""

    def __init__(self, dice: Dice, plan: Plan) -> None:
        self.dice, self.random, self.plan = dice, dice.random, plan
        self.image = plan.config.image
        self.block, self.cluster = self.image.block_size, self.image.cluster_size
        self.places = Places(dice.random, self.block, self.cluster, plan.setting)
        self.sketches: dict[str, Sketch] = {}
        self.tag = 0

    def _file(self) -> tuple[str, Sketch]:
        name = FILES[int(self.random() * self.plan.files)]
        sketch = self.sketches.get(name)
        if sketch is None:
            sketch = self.sketches[name] = Sketch()
        return name, sketch

    def _range(self, sketch: Sketch) -> tuple[int, int]:
        off = self.places.offset(sketch)
        return off, abs(self.places.length(sketch, off))

    def _odd_range(self, sketch: Sketch) -> tuple[int, int]:
        """A range for fallocate, which now and then is refused."""
        off, length = self._range(sketch)
        if self.random() < 0.02:
            return self.dice.pick(
                ((-1, 10), (off, 0), (off, -1), (1 << 62, length), (off, 1 << 50))
            )
        return off, length

    def _drawn(self, sketch: Sketch, off: int, length: int, state: int, *, grow: bool) -> None:
        """`[off, off + length)` is `state`; the file grows to its end if `grow`. A range that
        is refused is not drawn."""
        if length <= 0 or off < 0 or off + length > REFUSED:
            return
        block = self.block
        end = off + length
        sketch.fill(off - off % block, end + -end % block, state)
        if grow and end > sketch.size:
            sketch.size = end

    def _written(self, sketch: Sketch, off: int, length: int) -> None:
        self._drawn(sketch, off, length, DIRTY, grow=True)

    def _all_flushed(self) -> None:
        for sketch in self.sketches.values():
            sketch.flushed()
