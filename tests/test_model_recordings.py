"""The model against real kernels, on a slice of the recordings of every kind and path.

`ext4diff check-recording` does the same with all of them.
"""

from __future__ import annotations

import pytest
from modelled import chosen, disagreements

from harness.recordings.recording import recorded_by
from model import Behaviour

QUIRKS = frozenset(
    {
        "efault_beyond_eof_moves_size",
        "indirect_delayed_tail_is_hole",
        "stale_folio_after_short_copy",
        "zero_range_revives_eof_block",
    }
)


def behaviour(name: str) -> Behaviour:
    """Of the kernel that made the recording `name`."""
    return recorded_by(name).behaviour(QUIRKS)


@pytest.mark.parametrize("name", ["bh-rand", "bh73-rand", "iomap-rand"])
def test_random_programs(name: str) -> None:
    traces = chosen(name, name.partition("-")[2])[:72]
    found = [line for trace in traces for line in disagreements(trace, behaviour(name))]
    assert found == []


@pytest.mark.parametrize("name", ["bh73-focus", "iomap-focus"])
def test_programs_around_the_buffered_write(name: str) -> None:
    found = [
        line for trace in chosen(name, "")[::7] for line in disagreements(trace, behaviour(name))
    ]
    assert found == []
