"""The last cluster that a file can have: "no extent follows" is a number of a block in it."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, placed

from harness.errors import NotModelledError
from harness.trace import Extent, State, Trace
from model import Behaviour, Model

BIG = "bigalloc16k@delalloc"
LAST = 17592186036224  # bytes: the last block of 4 KiB that a file can have, third of its cluster
QUIRK = "last_cluster_taken_for_mapped"
NEAR = {"a": (Extent(0, 1 << 45, State.WRITTEN, 1 << 31),)}


def followed(line: str, config: str = BIG) -> Trace:
    """The model's trace with the kernel's bug."""
    workload = make_workload(line, config)
    behaviour = Behaviour(iomap="iomap" in config, quirks=frozenset({QUIRK}))
    return Model(behaviour, geometry).run(workload, (NEAR,) * (len(workload.ops) + 1))


def fired(trace: Trace) -> list[bool]:
    """Whether the bug showed in each step."""
    return [QUIRK in step.quirks for step in trace.steps]


@pytest.mark.parametrize("ops", ["pwrite a {} 8k; fsync a", "falloc a {} 12k", "dwrite a {} 8k"])
def test_it_is_charged(ops: str) -> None:
    trace = placed(make_workload(ops.format(LAST - 8192), BIG), NEAR)
    assert file(trace.steps[-1]).blocks == 32
    assert trace.start.bfree is not None
    assert trace.steps[-1].observation.bfree == trace.start.bfree - 4


@pytest.mark.parametrize("config", [BIG, BIG + ",buffered_iomap"])
def test_with_the_bug_nothing_is_reserved_and_i_blocks_lacks_a_cluster(config: str) -> None:
    line = f"falloc a 0 16k; pwrite a {LAST} 100; fsync a; pwrite a {LAST - 8192} 100; fsync a"
    trace = followed(line, config)
    assert fired(trace) == [False, True, False, False, False]
    assert [file(step).reserved for step in trace.steps] == [0] * 5
    assert [file(step).disk_blocks for step in trace.steps] == [32] * 5
    free = [step.observation.bfree or 0 for step in trace.steps]
    assert [free[0] - now for now in free] == [0, 0, 4, 4, 4]


def test_the_bug_needs_mapped_blocks_before_and_none_in_the_cluster() -> None:
    assert not any(fired(followed(f"pwrite a {LAST} 100; fsync a; pwrite a {LAST - 4096} 9")))
    assert not any(fired(followed(f"falloc a 0 16k; pwrite a {LAST - 12289} 1; fsync a")))


def test_blocks_that_fallocate_puts_there_are_counted() -> None:
    trace = followed(f"falloc a 0 16k; pwrite a {LAST} 100; falloc a {LAST - 4096} 4k; fsync a")
    assert file(trace.steps[-1]).disk_blocks == 64


def test_i_blocks_below_0_lose_their_upper_bits_on_disk() -> None:
    line = f"falloc a 0 16k; pwrite a {LAST} 100; fsync a; truncate a 0; remount; falloc a 0 4k"
    seen = [file(step) for step in followed(line).steps[3:]]
    cut = 8 << 48  # sectors: 48 bits count blocks of 4 KiB
    assert [one.blocks for one in seen] == [-32, cut - 32, cut]
    assert [one.disk_blocks for one in seen] == [cut - 32, cut - 32, 0]


OWNED = (
    f"falloc a 0 16k; chown a 7; quota_set uid=7 hard=100; pwrite a {LAST} 100; fsync a;"
    " truncate a 16k; truncate a 0; "
)
WRITES = ("0 64k", "64k 16k", "80k 16k", "96k 16k")
QUOTA = "quotabig16k@delalloc,usrquota"


@pytest.mark.parametrize(
    ("line", "name", "fits"),
    [
        ("sync", "a", 3),
        ("unlink a; pwrite b 0 1; chown b 7", "b", 3),
        ("chown a 0; pwrite b 0 1; chown b 7", "b", 2),
        ("remount", "a", 3),
    ],
)
def test_what_is_given_back_beyond_what_was_charged_leaves_quota_at_0(
    line: str, name: str, fits: int
) -> None:
    """i_blocks is below 0 then, and goes along to another owner. Seen on 7.3.4."""
    writes = "; ".join(f"user_write {name} {at} uid=7" for at in WRITES)
    found = [step.result for step in followed(f"{OWNED}{line}; {writes}", QUOTA).steps[-4:]]
    assert found == [65536, 16384, 16384][:fits] + ["EDQUOT"] * (4 - fits)


def test_i_blocks_pass_what_the_inode_holds_upwards_too() -> None:
    """Read back below 0 it is 48 bits of ones; with what is charged next it is small again on disk.
    Seen on 7.3.4."""
    line = f"{OWNED} remount; pwrite a 0 96k; fsync a; remount"
    blocks = [file(step).disk_blocks for step in followed(line, QUOTA).steps[-4:]]
    assert blocks == [(8 << 48) - 32, (8 << 48) - 32, 160, 160]


def test_i_blocks_below_0_let_nobody_fall_below_a_limit() -> None:
    """When the file gets another owner. Seen on 7.3.4: one warning, of the last file of uid 7."""
    line = f"pwrite b 0 64k; chown b 7; {OWNED} chown a 0; pwrite b 64k 64k; chown b 0"
    final = followed(line.replace("hard=100", "hard=1000"), QUOTA).final
    assert final is not None
    assert final.warnings == ("uid 7: below the inode soft limit again",)


def test_a_crash_is_refused_where_quota_is_apart_from_the_files() -> None:
    with pytest.raises(NotModelledError, match="quota was not what the files have"):
        followed(f"{OWNED} shutdown 2; remount", QUOTA)


def test_what_i_blocks_lacks_is_lacking_after_a_crash() -> None:
    trace = followed(f"falloc a 0 16k; pwrite a {LAST} 100; fsync a; shutdown 2; remount; fsync a")
    assert [file(trace.steps[at]).disk_blocks for at in (2, 4, 5)] == [32, 32, 32]
