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


def test_a_vector_past_the_largest_offset_is_refused_before_the_flag() -> None:
    """As on Debian's 7.3.4."""
    line = "pwrite a 0 4k; setflags a 0x10; pwritev a 9223372036854775800 4k,4k; pwritev a 0 4k,4k"
    assert results(run(line))[-2:] == ["EINVAL", "EPERM"]


def test_of_an_empty_file_nothing_is_mapped() -> None:
    """As on Debian's 7.3.4."""
    line = "pwrite a 0 0; setflags a 0x20; mwrite_in a p=0.5 4k; append a 1; mwrite_in a p=0.5 4k"
    assert results(run(line))[2:] == [0, 1, "EACCES"]


@pytest.mark.parametrize(
    ("flags", "call", "opens"),
    [(0x10, "append a 0", False), (0x20, "append a 0", True), (0x20, "pwrite_osync a 0 0", False)],
)
def test_only_what_is_append_only_is_opened_again_and_for_appending(
    flags: int, call: str, *, opens: bool
) -> None:
    step = run(f"pwrite a 0 4k; setflags a {flags}; {call}").steps[-1]
    assert ("protected file: may_open" in step.because) is not opens


def test_both_are_replaced() -> None:
    line = "pwrite a 0 4k; setflags a 0x30; append a 1; setflags a 0x20; append a 1; setflags a 0"
    assert results(run(f"{line}; pwrite a 0 1")) == [4096, 0, "EPERM", 0, 1, 0, 1]


def test_what_stays_immutable_stays_as_it_is() -> None:
    line = "pwrite a 0 100; setflags a 0x10; setflags a 0x10; setflags a 0x30; setflags a 0x20"
    assert results(run(line))[1:] == [0, 0, "EPERM", 0]
    assert results(run(line, "inline@delalloc"))[1:] == [0, "EPERM", "EPERM", 0]
