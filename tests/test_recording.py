"""The recordings load as traces, whole, with events under their files' names."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.recordings.events import InodeNumbers, parse_event
from harness.recordings.recording import (
    Recorded,
    Recording,
    geometry_of,
    load,
    recorded_by,
    workloads_of,
)
from harness.trace import EventKind, State, Trace, decode, encode, placement_of
from workloads import ops

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(scope="module")
def extra() -> list[Trace]:
    return list(load(RECORDINGS, "bh73-extra", "bh-extra"))


def test_every_step_of_a_recording_is_there(extra: list[Trace]) -> None:
    assert len(extra) == 112
    assert sum(len(trace.steps) for trace in extra) == 897
    assert all(len(trace.steps) == len(trace.workload.ops) for trace in extra)


def test_every_event_has_a_file(extra: list[Trace]) -> None:
    events = [event for trace in extra for step in trace.steps for event in step.events or ()]
    assert len(events) > 1000
    assert {event.file for event in events} <= {"a", "b", "c"}


def test_a_trace_survives_encoding(extra: list[Trace]) -> None:
    for trace in extra[:20]:
        assert decode(encode(trace)) == trace


def test_placement_has_an_entry_for_each_step_and_the_end(extra: list[Trace]) -> None:
    trace = extra[0]
    placement = placement_of(trace)
    assert len(placement) == len(trace.steps) + 1
    written = [extent for extent in placement[-1]["a"] if extent.state is State.WRITTEN]
    assert written
    assert all(extent.physical for extent in written)


def test_the_printed_reserve_event_lacks_a_space() -> None:
    line = (
        "ext4_da_reserve_space: dev 254,0 ino 12 mode 0100644 i_blocks 0 "
        "reserve_blocks 1reserved_data_blocks 2"
    )
    event = parse_event(line, {12: "a"})
    assert (event.kind, event.file, event.count, event.reserved) == (EventKind.RESERVE, "a", 1, 2)


def test_an_update_event_carries_its_claim() -> None:
    line = (
        "ext4_da_update_reserve_space: dev 254,0 ino 13 mode 0100644 i_blocks 8 used_blocks 2 "
        "reserved_data_blocks 3 quota_claim 1"
    )
    event = parse_event(line, {})
    assert (event.kind, event.file, event.claim) == (EventKind.UPDATE, "ino 13", True)


def test_another_line_is_no_event() -> None:
    with pytest.raises(ValueError, match="not a reservation tracepoint"):
        parse_event("ext4_free_blocks: dev 254,0 ino 12", {})


def test_inode_numbers_follow_names_through_rename_and_reuse() -> None:
    numbers = InodeNumbers()
    assert numbers.before(ops.Write("a", 0, 1, 1), {"a"}) == {12: "a"}
    assert numbers.before(ops.Write("b", 0, 1, 1), {"a", "b"}) == {12: "a", 13: "b"}
    rename = ops.Rename("a", "b")
    numbers.before(rename, {"b"})
    numbers.after(rename, {"b"})
    assert numbers.before(ops.Write("c", 0, 1, 1), {"b", "c"}) == {12: "b", 13: "c"}


def test_a_damaged_recording_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "x.workloads.json.xz").write_bytes(b"not xz")
    with pytest.raises(UsageError, match="not a readable recording"):
        list(load(tmp_path, "x"))
    with pytest.raises(UsageError, match="not a readable recording"):
        list(load(tmp_path, "missing"))


def test_a_truncated_result_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.workloads.json.xz").write_bytes(lzma.compress(b"[]"))
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(b'{"name": "a@4k@del'))
    with pytest.raises(UsageError, match="line 1"):
        list(load(tmp_path, "x"))


def test_a_workload_that_was_not_recorded_is_refused(extra: list[Trace]) -> None:
    recording = Recording(RECORDINGS, "bh73-extra", "bh-extra")
    workload = extra[0].workload
    assert recording.run(workload) == extra[0]
    other = type(workload)(workload.program, workload.config, workload.ops[:1])
    with pytest.raises(UsageError, match="no recording of"):
        recording.run(other)


def test_the_models_start_comes_from_the_first_observation(extra: list[Trace]) -> None:
    geometry = geometry_of(extra[0])
    assert (geometry.blocks, geometry.free_blocks) == (16384, 14327)


def test_each_kind_of_recording_has_its_kernel(extra: list[Trace]) -> None:
    assert extra[0].kernel == recorded_by("bh73-extra").release == "7.3.4"
    assert recorded_by("other").release is None


def test_a_second_kernel_shares_the_first_ones_workloads() -> None:
    assert workloads_of(RECORDINGS / "bh73-hand.jsonl.xz").name == "bh-hand.workloads.json.xz"
    assert workloads_of(RECORDINGS / "iomap-hand.jsonl.xz").name == "iomap-hand.workloads.json.xz"


def test_a_kernel_that_is_not_listed_has_its_release_in_its_name() -> None:
    assert recorded_by("iomap73-rand").release == "7.3"
    assert recorded_by("iomap73-rand").behaviour().write_ends_at_fault
    assert recorded_by("bh73-rand").release == "7.3.4"
    assert recorded_by("other-rand") == Recorded(None, iomap=True)


def test_an_image_that_is_not_ours_is_as_mkfs_json_says(tmp_path: Path) -> None:
    line = lzma.decompress((RECORDINGS / "bh-extra.jsonl.xz").read_bytes()).splitlines()[0]
    workload = json.loads(
        lzma.decompress((RECORDINGS / "bh-extra.workloads.json.xz").read_bytes())
    )[0]
    workload["image"] = "8k"
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(line))
    (tmp_path / "x.workloads.json.xz").write_bytes(lzma.compress(json.dumps([workload]).encode()))
    (tmp_path / "mkfs.json").write_text('{"8k": ["32M", "-b 8192 -O bigalloc -C 65536"]}')
    image = next(load(tmp_path, "x")).workload.config.image
    assert (image.size, image.block_size, image.cluster_size) == (32 << 20, 8192, 65536)


def _on(folder: Path, image: str, mkfs: str) -> Path:
    """The first workload of a recording, on `image`, with `mkfs.json`."""
    line = lzma.decompress((RECORDINGS / "bh-extra.jsonl.xz").read_bytes()).splitlines()[0]
    listed = lzma.decompress((RECORDINGS / "bh-extra.workloads.json.xz").read_bytes())
    workload = json.loads(listed)[0] | {"image": image}
    (folder / "x.jsonl.xz").write_bytes(lzma.compress(line))
    (folder / "x.workloads.json.xz").write_bytes(lzma.compress(json.dumps([workload]).encode()))
    if mkfs:
        (folder / "mkfs.json").write_text(mkfs)
    return folder


def test_mkfs_json_says_it_of_an_image_with_a_name_of_ours_too(tmp_path: Path) -> None:
    """Ours of that name was taken in its place, without a word."""
    _on(tmp_path, "4k", '{"4k": ["32M", "-b 4096"], "never used": "x"}')
    image = next(load(tmp_path, "x")).workload.config.image
    assert (image.size, image.features) == (32 << 20, frozenset())


@pytest.mark.parametrize(
    ("mkfs", "said"),
    [
        ("", 'nothing is known of the image 8k; say there how .* {"8k": \\["64M", "-b 4096"'),
        ('{"4k": ["64M", "-b 4096"]}', "nothing is known of the image 8k"),
        ('{"8k": ["64M", "-O quota"]}', "the image 8k does not say its block size: -b 4096"),
        ('{"8k": ["64M", "-b 0"]}', "the image 8k has blocks of 1k to 64k only"),
        ('{"8k": ["64M", "-b 4096 -C 2048"]}', "the image 8k has clusters of whole blocks only"),
        ('{"8k": ["64", "-b 4096"]}', "the image 8k is 64 large: write 64M"),
        ('{"8k": 64}', "mkfs.json is damaged"),
        ("[1]", "mkfs.json is damaged"),
        ("{", "mkfs.json is damaged: it is cut off, or no JSON"),
    ],
)
def test_an_image_of_which_nothing_is_known_is_told_with_what_to_do(
    mkfs: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        list(load(_on(tmp_path, "8k", mkfs), "x"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": []}, "it has 0 steps of 4 operations"),
        ({"final": {"files": []}}, ""),
        ({"start": {}}, "it has no 'files'"),
    ],
)
def test_a_line_that_lacks_something_is_told(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    _on(tmp_path, "4k", "")
    line = json.loads(lzma.decompress((tmp_path / "x.jsonl.xz").read_bytes())) | changed
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(json.dumps(line).encode()))
    with pytest.raises(UsageError, match=f"line 1 is damaged: {said}"):
        list(load(tmp_path, "x"))
