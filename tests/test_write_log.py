"""Where the guest wrote to its disk, as QEMU's trace tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vm.write_log import WriteLog

WRITE = "4@1700000000.000001:blk_co_pwritev blk 0x5 bs 0x6 offset 4096 bytes 8192 flags 0x0\n"
ZEROS = "blk_co_pwritev blk 0x5 bs 0x6 offset 0 bytes 512 flags 0x6\n"


@pytest.fixture
def log() -> Iterator[WriteLog]:
    with closing(WriteLog()) as log:
        yield log


def tell(log: WriteLog, text: str) -> None:
    """As QEMU does, which goes on at its own place in the file."""
    with Path(f"/proc/self/fd/{log.fd}").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(text.encode())


def test_each_write_is_told_once(log: WriteLog) -> None:
    tell(log, WRITE + ZEROS)
    assert log.take() == [(4096, 8192), (0, 512)]
    tell(log, ZEROS)
    assert log.take() == [(0, 512)]


@pytest.mark.parametrize("text", ["", "a warning\n" + WRITE, WRITE + ZEROS.strip(), "blk_co_pw\n"])
def test_what_is_not_understood_is_not_known(log: WriteLog, text: str) -> None:
    """A QEMU without this event says nothing, another one may say something else."""
    tell(log, text)
    assert log.take() is None
    tell(log, WRITE)
    assert log.take() == [(4096, 8192)]


def test_what_was_taken_takes_no_memory(log: WriteLog) -> None:
    for _ in range(3):
        tell(log, WRITE * 10_000)
        assert len(log.take() or []) == 10_000
        assert os.fstat(log.fd).st_blocks <= 8
