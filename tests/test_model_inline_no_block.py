"""Inline data that finds no block when truncate, fallocate or a store wants to move it.

What is expected was seen on 7.3.4 with and without the iomap series.
"""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import FREE, geometry, in_one_piece, results

from harness.trace import Trace
from model import Behaviour, Model
from model.image_writer import image_of
from vm.mkfs import geometry_of, image_file
from workloads.content import pattern

CHECKSUM, ERRORS = "failed_conversion_breaks_checksum", "failed_truncate_marks_errors"
FULL = f"pwrite a 0 100 tag=1; falloc f 0 {(FREE - 327) * 4}k; "
DATA = hashlib.md5(pattern(1, 0, 100)).hexdigest()


def run(line: str, *quirks: str, config: str = "inline@delalloc") -> Trace:
    workload = make_workload(line, config)
    places = in_one_piece(workload, a=19, b=23, f=28)
    model = Model(Behaviour(iomap=False, quirks=frozenset(quirks)), geometry)
    return model.run(workload, places)


@pytest.mark.parametrize(
    ("call", "error"),
    [("truncate a 8k", "ENOSPC"), ("falloc a 0 8k", "ENOSPC"), ("mwrite a 0 8", "SIGBUS")],
)
@pytest.mark.parametrize("gone", ["remount", "sync; close a; drop_caches"])
def test_the_file_cannot_be_opened_once_it_has_left_memory(
    call: str, error: str, gone: str
) -> None:
    line = f"{FULL}{call}; pread a 0 100; {gone}; pread a 0 100"
    trace = run(line, CHECKSUM)
    assert results(trace)[2:4] == [error, DATA]
    assert results(trace)[-1] == "EBADMSG"
    assert trace.steps[-1].observation.error == "EBADMSG"
    assert trace.final is not None
    assert trace.final.content is None
    assert results(run(line))[-1] == DATA, "the strict model"


@pytest.mark.parametrize(
    ("call", "opened"),
    [
        ("pwrite a 0 10", True),
        ("chown a 7", True),
        ("pread a 0 10", False),
        ("fsync a", False),
        ("truncate a 9k", False),
        ("pwrite f 0 4k", False),
    ],
)
def test_the_next_change_of_the_inode_mends_it(call: str, *, opened: bool) -> None:
    trace = run(f"{FULL}truncate a 8k; {call}; remount; seek a", CHECKSUM)
    assert (trace.steps[-1].result != "EBADMSG") is opened


def test_other_files_can_be_opened_and_nothing_be_seen() -> None:
    trace = run(
        f"{FULL}truncate a 8k; remount; pwrite f 0 4k; unlink a; rename f a; rename f b", CHECKSUM
    )
    assert results(trace)[-4:] == [4096, "EBADMSG", "EBADMSG", 0]
    assert {step.observation.error for step in trace.steps[-4:]} == {"EBADMSG"}


def test_a_crash_brings_back_what_the_commit_had() -> None:
    line = f"{FULL}truncate a 8k; fsync f; shutdown 2; remount; pread a 0 100"
    assert results(run(line, CHECKSUM))[-1] == "EBADMSG"


@pytest.mark.parametrize(("quirks", "noted"), [((), 0), ((ERRORS,), 2)])
def test_a_truncate_without_space_is_taken_for_damage(quirks: tuple[str, ...], noted: int) -> None:
    line = "pwrite a 0 100; falloc f 0 64m; truncate a 8k; truncate a 8k; falloc a 0 8k"
    workload = make_workload(line, "inline@delalloc")
    model = Model(Behaviour(iomap=False, quirks=frozenset(quirks)), geometry_of)
    mount = model.finish(workload, in_one_piece(workload, a=2, f=13))
    with image_of(mount, image_file(workload.config.image)) as (fs, _):
        assert (fs.volume.sb.error_count, fs.volume.sb.state & 2) == (noted, 2 if noted else 0)
