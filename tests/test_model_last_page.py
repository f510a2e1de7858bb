"""The page with the last block that a file can have: what comes behind that block can't be read."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, results

from harness.errors import NotModelledError
from harness.trace import Extent, State, Trace
from model import Behaviour, Model

SMALL = "1k@delalloc,buffered_iomap"
PAGE = 4294967292  # KiB: where the last page begins, with three blocks of 1 KiB
QUIRK = "last_page_read_in_part"
PLACES = {"a": (Extent(0, 1 << 45, State.WRITTEN, 1 << 46),)}


def followed(line: str, config: str = SMALL, *quirks: str) -> Trace:
    """The model's trace with the kernel's bug, of a file `a` that is as long as can be."""
    workload = make_workload(f"truncate a 4294967295k; {line}", config)
    behaviour = Behaviour(iomap="iomap" in config, quirks=frozenset(quirks or {QUIRK}))
    return Model(behaviour, geometry).run(workload, (PLACES,) * (len(workload.ops) + 1))


def told(line: str, config: str = SMALL) -> list[object]:
    """What the operations returned."""
    return results(followed(line, config))[1:]


def test_stores_and_pipes_need_the_whole_page() -> None:
    """7.3.4 with the series, iomap path: SIGBUS and EIO."""
    assert told(f"mwrite a {PAGE + 2}k 10") == ["SIGBUS"]
    assert told(f"splice a {PAGE + 2}k 1k c 0; copy_range a {PAGE}k 1k c 0") == ["EIO", "EIO"]


def test_pages_before_it_are_copied_and_stored() -> None:
    """As seen: 12288 of 64 KiB from three pages before it, and a store across its start."""
    assert told(f"sendfile a {PAGE - 12}k 64k c 0") == [12288]
    trace = followed(f"mwrite a {PAGE - 4}k 6k; pread a {PAGE - 4}k 4k")
    stored = followed(f"mwrite a {PAGE - 4}k 4k tag=2; pread a {PAGE - 4}k 4k")
    assert results(trace)[1] == "SIGBUS"
    assert results(trace)[2] == results(stored)[2]
    assert file(trace.steps[-1]).reserved == 4


def test_a_read_takes_what_the_page_has() -> None:
    good = followed(f"pread a {PAGE}k 8k; pread a {PAGE + 2}k 64k")
    assert not any("EIO" in str(result) for result in results(good))


def test_a_page_that_a_write_made_is_read_once_in_vain() -> None:
    """7.3.4 with the series: EIO for a block beside the one written, then zeros."""
    line = (
        f"pwrite a {PAGE + 2}k 1k; pread a {PAGE + 2}k 1k; pread a {PAGE}k 1k; pread a {PAGE}k 1k"
    )
    seen = told(line)
    assert seen[2] == "EIO"
    assert "EIO" not in (seen[1], seen[3])


def test_less_is_read_ahead_after_it() -> None:
    """As seen: a fault that fails comes twice, so that a sixteenth of 8 MiB is left; a pipe that
    fails comes once."""
    line = f"falloc a 6m 8m; mwrite a {PAGE}k 10; mwrite a 10m 1; seek a"
    assert told(line)[-1] == [[10223616, 10747904]]
    line = f"falloc a 6m 8m; splice a {PAGE}k 10 b 0; mwrite a 10m 1; seek a"
    assert told(line)[-1] == [[9437184, 11534336]]
    line = f"falloc a 6m 8m; mwrite a {PAGE}k 10; close a; mwrite a 10m 1; seek a"
    assert told(line)[-1] == [[6291456, 14680064]]


def test_so_little_is_left_at_last_that_it_is_refused() -> None:
    with pytest.raises(NotModelledError, match="read ahead"):
        followed("; ".join([f"mwrite a {PAGE}k 10"] * 6))


@pytest.mark.parametrize("config", ["1k@delalloc", "4k@delalloc,buffered_iomap"])
def test_buffer_heads_and_blocks_of_a_page_are_right(config: str) -> None:
    trace = followed(f"mwrite a {PAGE - 2}k 10; splice a {PAGE - 2}k 1k c 0", config)
    assert results(trace)[1:] == [10, 1024]
    assert not any(step.quirks for step in trace.steps)


def test_a_file_that_ends_before_the_page_is_right() -> None:
    assert told(f"truncate a {PAGE}k; mwrite a {PAGE - 1}k 10")[-1] == 10


def test_the_strict_model_reads_it() -> None:
    workload = make_workload(f"truncate a 4294967295k; mwrite a {PAGE}k 10", SMALL)
    assert Model(Behaviour(iomap=True), geometry).run(workload).steps[1].result == 10


def test_a_large_folio_with_it_that_was_split_is_read_once_in_vain() -> None:
    """7.3.4 with the series: of a folio that was read ahead and then split, the part with that page
    keeps nothing that it knew."""
    ahead = "; ".join(f"pread a {PAGE - 64 + at}k 8k" for at in (0, 8, 16))
    seen = told(
        f"{ahead}; fpunch a {PAGE - 8}k 4k; pread a {PAGE - 4}k 4k" + f"; pread a {PAGE}k 1k" * 2
    )
    assert [result == "EIO" for result in seen] == [False] * 5 + [True, False]


def test_a_strict_read_of_it_needs_no_second_one() -> None:
    workload = make_workload(f"truncate a 4294967295k; pread a {PAGE}k 1k; seek a", SMALL)
    steps = Model(Behaviour(iomap=True), geometry).run(workload).steps
    assert steps[1].result != "EIO"
    assert not any(step.quirks for step in steps)
