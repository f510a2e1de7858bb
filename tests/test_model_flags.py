"""setflags: what is modelled of an inode's flags, and what is refused by name."""

from __future__ import annotations

import pytest
from modelled import results, run

from harness.errors import NotModelledError

ALL = 0x1 | 0x2 | 0x8 | 0x40 | 0x80
"""Others that a user may set: each stays in the inode, and some change what a write does."""


@pytest.mark.parametrize("flags", [bit for bit in (1 << n for n in range(8)) if bit & ALL])
def test_other_flags_are_refused_by_name(flags: int) -> None:
    with pytest.raises(NotModelledError, match=f"setflags {flags:#x}: "):
        run(f"pwrite a 0 4k; setflags a {flags | 0x10:#x}")


def test_both_are_replaced() -> None:
    line = "pwrite a 0 4k; setflags a 0x30; append a 1; setflags a 0x20; append a 1; setflags a 0"
    assert results(run(f"{line}; pwrite a 0 1")) == [4096, 0, "EPERM", 0, 1, 0, 1]


def test_what_stays_immutable_stays_as_it_is() -> None:
    line = "pwrite a 0 100; setflags a 0x10; setflags a 0x10; setflags a 0x30; setflags a 0x20"
    assert results(run(line))[1:] == [0, 0, "EPERM", 0]
    assert results(run(line, "inline@delalloc"))[1:] == [0, "EPERM", "EPERM", 0]
