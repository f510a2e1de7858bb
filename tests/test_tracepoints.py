"""Tracepoints are read from the kernel's ring buffer as it says that they lie there."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from told import FORMATS, IDS, event, page

from harness.trace import Event, EventKind
from vm.agent.tracing import EVENTS, Tracer
from vm.tracepoints import Tracepoints

RESERVE, RELEASE, UPDATE = EventKind.RESERVE, EventKind.RELEASE, EventKind.UPDATE
KNOWN = Tracepoints(FORMATS)
NAMES = {12: "a", 13: "b"}


def word(kind: int, delta: int, *more: int) -> bytes:
    return struct.pack(f"<{1 + len(more)}I", kind | delta << 5, *more)


def test_each_kind_has_its_fields_and_the_names_of_inodes() -> None:
    told = page(
        event(RESERVE, 12, 1, 4),
        event(RELEASE, 13, 3, 5),
        event(UPDATE, 12, 2, 2, claim=1),
        event(UPDATE, 99, 7, -1, claim=0),
    )
    assert KNOWN.events(told, NAMES) == (
        (
            Event(RESERVE, "a", 1, 4),
            Event(RELEASE, "b", 3, 5),
            Event(UPDATE, "a", 2, 2, True),
            Event(UPDATE, "ino 99", 7, -1, False),
        ),
        0,
    )
    assert KNOWN.events(b"", NAMES) == ((), 0)


def test_an_inode_number_has_as_many_bits_as_the_kernel_says() -> None:
    far = 5 << 32 | 12
    assert KNOWN.events(page(event(RESERVE, far, 1, 1)), {far: "c"})[0][0].file == "c"


def test_what_else_lies_in_a_page_is_passed_over() -> None:
    """Time, discarded events, the end of a page, and lengths that stand in a word of their own."""
    long = event(RESERVE, 12, 1, 1)[4:]
    told = page(
        word(30, 7, 3),
        word(31, 5, 9),
        word(29, 1, 8, 0xFFFFFFFF),  # discarded, with its length
        word(0, 2, len(long) + 4) + long,
        word(29, 0),
        b"\xff" * 24,
    )
    assert KNOWN.events(told, NAMES) == ((Event(RESERVE, "a", 1, 1),), 0)


def test_pages_of_several_cpus_are_put_in_the_order_of_time() -> None:
    def reserve(count: int, delta: int) -> bytes:
        return event(RESERVE, 12, count, 0, delta=delta)

    told = page(reserve(1, 0), word(30, 1, 1), reserve(4, 0), stamp=0)
    told += page(reserve(2, 0), reserve(3, 50), word(31, 2, 1), reserve(5, 0), stamp=1000)
    assert [found.count for found in KNOWN.events(told, NAMES)[0]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("losses", "lost"),
    [((0, 0), 0), ((5, 0), 5), ((5, 7), 12), ((None, 7), None), ((3, None), None)],
)
def test_lost_events_are_counted_as_far_as_the_kernel_did(
    losses: tuple[int | None, ...], lost: int | None
) -> None:
    told = b"".join(page(event(RESERVE, 12, 1, 1), lost=many) for many in losses)
    events, counted = KNOWN.events(told, NAMES)
    assert (len(events), counted) == (2, lost)


@pytest.mark.parametrize(
    "told",
    [
        b"x",
        page()[:12],
        page(event(RESERVE, 12, 1, 1))[:-1],
        page(event(RESERVE, 12, 1, 1), lost=5)[:-1],
        page(event(RESERVE, 12, 1, 1)[:-4]),
        page(word(1, 1, 4711)),
        page(word(0, 1, 0)),
        page(word(5, 1)),
    ],
)
def test_what_is_no_page_is_refused(told: bytes) -> None:
    with pytest.raises(ValueError):
        KNOWN.events(told, NAMES)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (RESERVE, "reserve_blocks;", "blocks;"),
        (RELEASE, "ID: 701", ""),
        (UPDATE, "quota_claim", "claim"),
        (RESERVE, "offset:16;\tsize:8", "offset:16;\tsize:3"),
    ],
)
def test_a_kernel_with_other_fields_is_refused_by_name(kind: EventKind, old: str, new: str) -> None:
    formats = {**FORMATS, kind: FORMATS[kind].replace(old, new)}
    assert formats != FORMATS
    with pytest.raises(ValueError, match=f"ext4_da_{kind}_space"):
        Tracepoints(formats)
    with pytest.raises(ValueError, match="ext4_da_reserve_space"):
        Tracepoints({})


def test_the_agent_takes_pages_of_all_cpus_without_their_rest(tmp_path: Path) -> None:
    """As the kernel gives them: a page at a time, filled up with zeros, until there is none."""
    base = tmp_path / "instances/ext4diff"
    for name in EVENTS.values():
        (base / f"events/ext4/{name}").mkdir(parents=True)
        (base / f"events/ext4/{name}/format").write_text(f"format of {name}")
        (base / f"events/ext4/{name}/enable").touch()
    (base / "buffer_size_kb").touch()
    (base / "tracing_on").touch()
    for cpu in ("cpu0", "cpu1"):
        (base / f"per_cpu/{cpu}").mkdir(parents=True)
        os.mkfifo(base / f"per_cpu/{cpu}/trace_pipe_raw")
    tracer = Tracer(str(tmp_path))
    assert tracer.formats == {kind: f"format of {name}" for kind, name in EVENTS.items()}
    assert set(tracer.formats) == set(IDS)
    assert tracer.drain() == b""
    first, second = page(event(RESERVE, 12, 1, 4), lost=3), page(event(RELEASE, 13, 3, 5))
    writers = [(base / f"per_cpu/{cpu}/trace_pipe_raw").open("r+b", 0) for cpu in ("cpu0", "cpu1")]
    for writer, told in zip(writers, (first, second), strict=True):
        writer.write(told.ljust(4096, b"\0"))
    assert tracer.drain() == first + second
    tracer.pause()
    assert (base / "tracing_on").read_text() == "0"
    tracer.resume()
    assert (base / "tracing_on").read_text() == "1"
    for writer in writers:
        writer.close()
