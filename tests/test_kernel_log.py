"""Records of /dev/kmsg become lines; the records are real ones."""

from __future__ import annotations

import os
from pathlib import Path

from vm.agent.kernel_log import KernelLog, parse_record
from vm.log.parser import complaints_in


def lines(record: bytes) -> list[str]:
    return [f"{part.prefix}{part.text}" for part in parse_record(record)[1]]


def test_a_record_keeps_its_level_and_its_caller() -> None:
    assert lines(b"2,300,1351878,-;EXT4-fs error\n") == ["<2>EXT4-fs error"]
    assert lines(b"12,300,1351878,-,caller=T77;x\n SUBSYSTEM=block\n") == ["<4>[T77] x"]


def test_a_line_end_within_a_record_begins_a_new_line() -> None:
    assert lines(b"4,1,2,-;\\x0aother info that might help us debug this:\\x0a\n") == [
        "<4>", "<4>other info that might help us debug this:",
    ]  # fmt: skip
    lost = rb"2,310,13519823,-;EXT4-fs (vda): This should not happen!! Data will be lost\x0a"
    (found,) = complaints_in(lines(lost + b"\n"))
    assert found.title == "EXT4-fs: This should not happen!! Data will be lost"


def test_continued_lines_are_one_and_a_gap_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    log = KernelLog(str(path))
    kernel = os.open(path, os.O_WRONLY)
    os.write(kernel, b"6,1,2,-;EXT4-fs (vda): initial error\n")
    assert log.read() == ["<6>EXT4-fs (vda): initial error"]
    assert log.read() == []
    assert parse_record(b"6,2,2,c;: inode 12\n")[0]
    assert not parse_record(b"6,2,2,-;: inode 12\n")[0]
    log.close()
    os.close(kernel)
