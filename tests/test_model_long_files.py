"""Files of gigabytes that are nearly all hole: the model takes no longer for them."""

from __future__ import annotations

import time

from modelled import results, run

from model.observe import WHOLE_FILE_LIMIT
from vm.agent import reading as agent


def test_the_content_of_a_long_file_is_compared_piece_by_piece() -> None:
    began = time.process_time()
    trace = run("pwrite a 17592186040318 1; pwrite a 0 100; fsync a")  # the last block
    assert results(trace) == [1, 100, 0]
    assert trace.final is not None
    assert trace.final.content is not None
    content = trace.final.content["a"]
    assert content.sha256 is None
    assert sorted(content.blocks or {}) == [0, 17592186040318 // 4096]
    assert time.process_time() - began < 5


def test_writing_back_a_part_of_a_long_file_takes_no_time_for_the_rest() -> None:
    began = time.process_time()
    trace = run("pwrite a 17592186040319 4032; pwrite a 19029 32k; sync")
    assert results(trace) == [1, 32768, 0]
    assert time.process_time() - began < 5


def test_model_and_guest_digest_the_same_files_as_a_whole() -> None:
    assert WHOLE_FILE_LIMIT == agent.WHOLE_FILE_LIMIT


def test_shifting_the_end_of_a_long_file_moves_its_data_only() -> None:
    began = time.process_time()
    trace = run("pwrite a 0 8k; pwrite a 5g 100; finsert a 4k 8k; fcollapse a 4k 4k; pread a 0 4k")
    assert results(trace)[:4] == [8192, 100, 0, 0]
    assert time.process_time() - began < 5


def test_a_copy_byte_by_byte_within_a_file_takes_no_longer_for_each_byte() -> None:
    began = time.process_time()
    trace = run("pwrite a 0 20k; append a 4095; sendfile a 0 64k a 1; fsync a")
    assert trace.final is not None
    assert time.process_time() - began < 20


def test_the_last_block_but_one_of_the_longest_file_is_allocated_alone() -> None:
    trace = run("pwrite a 17179869172k 8k; fsync a", "4k@delalloc,buffered_iomap", iomap=True)
    assert [event.count for event in trace.steps[1].events] == [1, 1]
