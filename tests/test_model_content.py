"""Content: pieces of what was written read as one plain buffer would, whatever was cut, zeroed
or moved."""

import hashlib
import random
import zlib

import pytest

from model.content import Content
from workloads.content import pattern, pattern_view

SIZE = 300_000
PERIOD = 131_072


class _Plain:
    """The same as `Content` in one buffer."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def write(self, pos: int, data: bytes) -> None:
        self.data[pos : pos + len(data)] = data

    def zero(self, start: int, end: int) -> None:
        self.data[start:end] = bytes(end - start)

    def move(self, start: int, target: int, size: int) -> None:
        moved = self.data[start:size]
        self.data[min(start, target) :] = bytes(SIZE - min(start, target))
        self.write(target, moved)


def _change(content: Content, plain: _Plain, chance: random.Random) -> None:
    start = chance.randrange(SIZE // 2)
    length = chance.choice((0, 1, 511, 4096, 70_000, 140_000))
    data = pattern(chance.randrange(256), start, length)
    half = SIZE // 2
    call, args = chance.choice(
        (
            ("write", (start, data)),
            ("write", (start, data)),
            ("zero", (start, start + length)),
            ("zero", (half, SIZE)),
            ("move", (start, max(start - length, 0), half)),
            ("move", (start, start + length, half)),
        )
    )
    for one in (content, plain):
        getattr(one, call)(*args)


@pytest.mark.parametrize("seed", range(20))
def test_content_is_that_of_one_buffer(seed: int) -> None:
    chance, content, plain = random.Random(seed), Content(), _Plain()
    for _ in range(40):
        _change(content, plain, chance)
        pos, size = chance.randrange(SIZE), chance.randrange(SIZE)
        assert content.read(pos, SIZE - pos) == plain.data[pos:]
        assert content.sha256(size) == hashlib.sha256(plain.data[:size]).hexdigest()
        pages = {at // 4096: bytes(plain.data[at : min(at + 4096, size)])
                 for at in range(0, size, 4096)}  # fmt: skip
        expected = {page: zlib.crc32(data) for page, data in pages.items() if any(data)}
        assert content.checksums(size) == expected


def test_a_copy_changes_by_itself() -> None:
    content = Content()
    content.write(0, b"abcdef")
    content.lose(4, 6)
    twin = content.copy()
    content.write(2, b"XYZ")
    assert (twin.read(0, 6), content.read(0, 6)) == (b"abcdef", b"abXYZf")
    assert (twin.undefined(6), content.undefined(6)) == (((4, 2),), ((5, 1),))


@pytest.mark.parametrize(
    "length", [0, 1, 4096, PERIOD - 1, PERIOD, PERIOD + 1, 3 * PERIOD + 7, 17 * PERIOD]
)
@pytest.mark.parametrize("off", [0, 1, PERIOD - 1, PERIOD + 5, (1 << 40) + 3])
def test_a_pattern_is_what_its_formula_says(off: int, length: int) -> None:
    data = pattern(9, off, length)
    assert (len(data), bytes(pattern_view(9, off, length))) == (length, data)
    for at in {0, 1, length // 2, length - 1} & set(range(length)):
        place = off + at
        assert data[at] == (9 * 167 + place * 13 + place // 512) & 255
