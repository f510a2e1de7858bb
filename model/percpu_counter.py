"""Counters with a part for each CPU (lib/percpu_counter.c).

Free and dirty clusters are such counters in the kernel; the low-space decisions read only their
global part, so the model keeps both parts.
"""

from __future__ import annotations

__all__ = ["BATCH", "PerCpuCounter"]

BATCH = 32
"""percpu_counter_batch with up to 16 CPUs."""


class PerCpuCounter:
    """A per-CPU counter of one CPU: `local` is folded into `total` in batches."""

    __slots__ = ("local", "total")

    def __init__(self, value: int) -> None:
        self.total, self.local = value, 0

    def add(self, amount: int) -> None:
        """Add in one go (percpu_counter_add_batch)."""
        self.local += amount
        if abs(self.local) >= BATCH:
            self.total += self.local
            self.local = 0

    def add_ones(self, times: int, one: int = 1) -> None:
        """Add `one`, which is 1 or -1, `times` times."""
        local = self.local * one + times
        if local >= BATCH:
            self.total += one * (local - local % BATCH)
            local %= BATCH
        self.local = one * local

    def approx(self) -> int:
        """What a cheap read sees (percpu_counter_read_positive)."""
        return self.total if self.total > 0 else 0

    def sum(self) -> int:
        """The exact value (percpu_counter_sum)."""
        return self.total + self.local
