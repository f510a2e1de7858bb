"""A guest's memory packed and unpacked: nothing of it may change on the way."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from vm.memory import Memory, Packed

PAGE = 4096
POISON = b"\xaa" * PAGE


def memory_of(data: bytes) -> Memory:
    memory = Memory(len(data))
    Path(memory.path).write_bytes(data)
    return memory


def content(memory: Memory) -> bytes:
    return Path(memory.path).read_bytes()


@pytest.mark.parametrize(
    "pages",
    [
        [bytes(PAGE)],
        [POISON],
        [b"x" * PAGE],
        [POISON[1:] + b"\xab", bytes(PAGE), POISON, POISON, b"\x00" * 4095 + b"\x01", bytes(PAGE)],
        [random.Random(seed).randbytes(PAGE) for seed in range(20)],
    ],
)
def test_all_pages_come_back(pages: list[bytes]) -> None:
    memory = memory_of(b"".join(pages))
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(memory.pack()), type=Packed)
    again = Memory.unpack(packed)
    assert content(again) == b"".join(pages)
    memory.close()
    again.close()


def test_pages_of_one_byte_take_no_room() -> None:
    memory = memory_of(POISON * 500 + bytes(500 * PAGE))
    assert len(msgspec.msgpack.encode(memory.pack())) < 100
    memory.close()


def test_damage_is_seen() -> None:
    memory = memory_of(random.Random(1).randbytes(10 * PAGE))
    packed = memory.pack()
    memory.close()
    data = bytearray(packed.data)
    data[len(data) // 2] ^= 1
    for damaged in (
        Packed(packed.runs, bytes(data)),
        Packed(packed.runs, packed.data[:-10]),
        Packed([("data", 9)], packed.data),
        Packed([("data", 11)], packed.data),
        Packed([("data", 10), ("other", 1)], packed.data),
    ):
        with pytest.raises(ValueError, match="the pages are"):
            Memory.unpack(damaged)


def test_a_closed_memory_holds_no_descriptor() -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    memory = Memory(PAGE)
    memory.close()
    memory.close()
    assert len(list(descriptors.iterdir())) == before
