"""What the agent reads of files and what the host makes of it are the files' checksums."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.trace import Content
from vm.agent import reading
from vm.agent.reading import CHUNK, LOOK, read_contents, read_file
from vm.contents import Contents

PIECE = 4096


Told = list[tuple[list[Any], bytes]]


def told(folder: Path) -> tuple[Told, dict[str, Any]]:
    """What the agent tells of the files in `folder`."""
    rows: Told = []
    names = sorted(path.name for path in folder.iterdir())
    files = read_contents(
        str(folder), names, lambda runs, parts: rows.append((runs, b"".join(parts)))
    )
    return rows, files


def read(folder: Path) -> dict[str, Content]:
    rows, files = told(folder)
    return collected(rows).content(files)


def collected(rows: Told) -> Contents:
    contents = Contents()
    for runs, data in rows:
        contents.add(runs, data)
    return contents


def expected(data: bytes) -> Content:
    pieces = {at // PIECE: data[at : at + PIECE] for at in range(0, len(data), PIECE)}
    blocks = {index: zlib.crc32(piece) for index, piece in pieces.items() if any(piece)}
    return Content(len(data), hashlib.sha256(data).hexdigest(), blocks)


PARTS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 255]), st.sampled_from([1, 17, PIECE, 3 * PIECE, CHUNK, CHUNK + 1])
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(files=st.lists(PARTS, max_size=3))
def test_the_checksums_are_those_of_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    datas = {
        str(number): b"".join(bytes([value]) * length for value, length in parts)
        for number, parts in enumerate(files)
    }
    for name, data in datas.items():
        (folder / name).write_bytes(data)
    assert read(folder) == {name: expected(data) for name, data in datas.items()}


def test_zeroes_are_not_sent_and_no_line_is_long(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(20 << 20)
    (tmp_path / "b").write_bytes(bytes(LOOK) + b"x")
    rows, _ = told(tmp_path)
    assert [runs for runs, _ in rows] == [[("b", LOOK, 1)]]
    (tmp_path / "c").write_bytes(b"c" * (3 * CHUNK))
    rows, _ = told(tmp_path)
    assert max(len(data) for _, data in rows) <= CHUNK


def test_zeroes_that_come_along_are_left_out(tmp_path: Path) -> None:
    """The guest looks at 32 KiB at once; a content has the pieces of 4096 that are not zero."""
    data = bytes(2 * PIECE) + b"x" * PIECE + bytes(3 * PIECE) + b"y" + bytes(5)
    (tmp_path / "a").write_bytes(data)
    rows, _ = told(tmp_path)
    assert [runs for runs, _ in rows] == [[("a", 0, len(data))]]
    assert sorted(read(tmp_path)["a"].blocks) == [2, 6]


def test_of_a_huge_file_only_the_data_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w+b") as file:
        file.seek(40 << 20)
        file.write(b"y" * 5000)
        file.truncate(1 << 40)
        file.flush()
        parts = read_file(file.fileno(), 1 << 40, limit=1 << 20)
        found = [(at, bytes(data)) for part in parts for at, data in part]
    assert found == [(40 << 20, b"y" * 5000 + bytes(2 * PIECE - 5000))]


def test_data_ranges_that_share_a_piece_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As blocks of 1 KiB may have it."""
    (tmp_path / "a").write_bytes(b"w" * 3 * PIECE)
    ranges = [(0, 1024), (2048, PIECE + 1024), (PIECE + 2048, 2 * PIECE)]
    monkeypatch.setattr(reading, "data_ranges", lambda _fd: ranges)
    with (tmp_path / "a").open("rb") as file:
        parts = read_file(file.fileno(), 3 * PIECE, limit=1)
        found = [(at, bytes(data)) for part in parts for at, data in part]
    assert found == [(0, b"w" * PIECE), (PIECE, b"w" * PIECE)]


def test_a_huge_file_has_no_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WHOLE_FILE_LIMIT", PIECE)
    (tmp_path / "a").write_bytes(b"z" * (PIECE + 1))
    assert read(tmp_path)["a"].sha256 is None


def test_a_second_reading_is_judged_by_its_own_bytes(tmp_path: Path) -> None:
    """Only what is the same is not hashed again."""
    before: Contents | None = None
    for data in (b"o" * 9000, b"o" * 8999 + b"p", b"o" * 8999, bytes(9000)):
        (tmp_path / "same").write_bytes(b"s" * 9000)
        (tmp_path / "other").write_bytes(data)
        rows, files = told(tmp_path)
        contents = collected(rows)
        found = contents.content(files, before)
        assert found == {"same": expected(b"s" * 9000), "other": expected(data)}
        before = contents


@pytest.mark.parametrize(
    ("runs", "data"),
    [
        ([("a", 1, 1)], b"x" * 1),
        ([("a", 4096, 1), ("a", 0, 1)], b"x" * 2),
        ([("a", 0, 5000), ("a", 4096, 1)], b"x" * 5001),
        ([("a", 0, 2)], b"x" * 1),
        ([("a", 0, 1)], b"x" * 2),
        ([3], b""),
        ([("a", 0, 5001)], b"x" * 5001),
        ([("b", 0, 1)], b"x" * 1),
    ],
)
def test_what_can_not_be_is_refused(runs: list[Any], data: bytes) -> None:
    contents = Contents()
    with pytest.raises((ValueError, TypeError)):
        contents.add(runs, data)
        contents.content({"a": {"size": 5000, "whole": True}})
