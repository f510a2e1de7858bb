"""The canonical form: what makes two images equal, and how a difference is told."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_image import COMMANDS, FEATURES, build, file_at, form, inode_offset, opened, patched

from harness.image.difference import Difference, differences
from harness.image.digest import PIECE, digest
from harness.image.locate import first_difference
from harness.image.names import printable
from harness.trace import Extent, State

CONTENT = bytes(range(1, 251)) * 10


def test_an_image_is_told_by_path():
    whole = form(build())
    file, other = whole.files["/file"], whole.files["/other"]
    assert (file.type, file.mode, file.size, file.links) == ("file", "0644", 2500, 1)
    assert file.extents == (Extent(0, 3072, State.WRITTEN),)
    assert file.xattrs == {"user.one": b"1".hex()}
    assert file.content == digest([(0, CONTENT)], len(CONTENT))
    assert other.extents[:2] == (
        Extent(0, 3072, State.WRITTEN), Extent(20480, 1024, State.UNWRITTEN),
    )  # fmt: skip
    assert other.blocks == 2 * (3 + 20 + 1 + 1)  # data, unwritten, a tree block, attributes
    assert whole.shapes["/other"] == msgspec.convert(
        {"depth": 1, "extents": 21, "tree_blocks": 1}, type(whole.shapes["/other"])
    )
    assert whole.files["/link"].target == "target"
    assert whole.files["/slow"].target == "t" * 100
    assert whole.files["/folder"].links == 3
    assert len([path for path in whole.files if path.startswith("/folder/name-")]) == 60
    assert (whole.whole.block_size, whole.whole.orphans, whole.whole.needs_recovery) == (
        1024, 0, False,
    )  # fmt: skip


def test_order_of_creation_uuid_and_times_do_not_count():
    again = (COMMANDS[1], COMMANDS[0], *COMMANDS[2:])
    options = ("-U", "87654321-1234-1234-1234-123456789abc")
    first, second = build(), build(FEATURES, *options, commands=again)
    assert file_at(first, "/file").inode.number != file_at(second, "/file").inode.number
    assert differences(form(first), form(second)) == []
    at = inode_offset(first, file_at(first, "/file").inode.number)
    times = patched(first, (at + 8, bytes(12)), (1024 + 44, bytes(10)), (at + 100, b"\1\2\3\4"))
    assert differences(form(first), form(times)) == []


@pytest.mark.parametrize(
    ("offset", "value", "field", "second"),
    [
        (0, struct.pack("<H", 0o100600), "mode", "0600"),
        (2, struct.pack("<H", 7), "uid", 7),
        (24, struct.pack("<H", 9), "gid", 9),
        (26, struct.pack("<H", 2), "links", 2),
        (28, struct.pack("<I", 8), "blocks", 8),
        (32, struct.pack("<I", 0x80010), "flags", "0x80010"),
    ],
)
def test_a_difference_names_path_field_and_both_values(offset, value, field, second):
    data = build()
    at = inode_offset(data, file_at(data, "/file").inode.number)
    found = differences(form(data), form(patched(data, (at + offset, value))))
    before = getattr(form(data).files["/file"], field)
    assert found == [Difference("/file", field, before, second)]


def test_a_changed_byte_changes_the_content_and_is_found():
    data = build()
    file = file_at(data, "/file")
    at = file.mapping.extents[0].physical * 1024 + 2000
    changed = patched(data, (at, b"\0"))
    (found,) = differences(form(data), form(changed))
    assert (found.path, found.field) == ("/file", "content")
    one, other = ((opened(image), file_at(image, "/file")) for image in (data, changed))
    assert first_difference(one, other) == (2000, CONTENT[2000], 0)
    assert first_difference(one, one) is None


def test_bytes_past_the_end_do_not_count_as_content():
    data = build()
    at = file_at(data, "/file").mapping.extents[0].physical * 1024 + 2500
    assert differences(form(data), form(patched(data, (at, b"x")))) == []


def test_a_changed_state_is_a_difference_of_extents_not_of_zeros():
    data = build()
    number = file_at(data, "/file").inode.number
    length = inode_offset(data, number) + 40 + 12 + 4
    unwritten = patched(data, (length, struct.pack("<H", 32768 + 3)))
    fields = {found.field: found for found in differences(form(data), form(unwritten))}
    assert set(fields) == {"extents", "content"}
    assert fields["extents"].second == (Extent(0, 3072, State.UNWRITTEN),)
    assert form(unwritten).files["/file"].content == digest([], 2500)


def test_missing_files_and_attributes_are_told_one_by_one():
    without = tuple(line for line in COMMANDS if "user.one" not in line and "slow" not in line)
    found = differences(form(build()), form(build(commands=without)))
    named = {(difference.path, difference.field): difference for difference in found}
    assert named["/slow", "exists"].first == "link"
    assert named["/slow", "exists"].second is None
    assert named["/file", "xattrs.user.one"].second is None
    free = named["(file system)", "free_blocks"]  # the link's block
    assert free.second == free.first + 1


def test_hard_links_are_told_apart_from_copies():
    links = ("ln file second", "set_inode_field file links_count 2")
    commands = (*COMMANDS[:3], *links)
    whole = form(build(commands=commands))
    assert whole.files["/second"].same_as == "/file"
    assert whole.files["/file"].same_as is None
    assert whole.files["/file"].links == 2


# --- digest and names ------------------------------------------------------------------


def chunks_of(pieces: dict[int, bytes]) -> list[tuple[int, bytes]]:
    return [(number * PIECE, piece.ljust(PIECE, b"\0")) for number, piece in sorted(pieces.items())]


def flat(chunks: list[tuple[int, bytes]], size: int) -> bytes:
    whole = bytearray(max([size, *(at + len(chunk) for at, chunk in chunks)]))
    for at, chunk in chunks:
        whole[at : at + len(chunk)] = chunk
    return bytes(whole[:size])


PIECES = st.dictionaries(
    st.integers(0, 6), st.sampled_from([b"", b"a", b"b", b"\0" * 1023 + b"c"]), max_size=6
)
SIZES = st.integers(0, 7 * PIECE)


@settings(deadline=None)  # the host may be busy
@given(PIECES, PIECES, SIZES, SIZES)
def test_digests_are_equal_exactly_where_contents_are(one, other, size, length):
    first, second = chunks_of(one), chunks_of(other)
    same = flat(first, size) == flat(second, length)
    assert (digest(first, size) == digest(second, length)) == same


@settings(deadline=None)  # the host may be busy
@given(PIECES, SIZES)
def test_the_digest_does_not_depend_on_how_content_is_cut(pieces, size):
    chunks = chunks_of(pieces)
    whole = flat(chunks, 7 * PIECE)
    assert digest(chunks, size) == digest([(0, whole)], size)


def test_the_digest_of_a_huge_hole_is_free():
    assert digest([], 1 << 60) != digest([], 1 << 59)


@settings(deadline=None)  # the host may be busy
@given(st.binary(max_size=6), st.binary(max_size=6))
def test_names_print_on_one_line_and_stay_different(one, other):
    assert printable(one).isprintable()
    printable(one).encode()  # no lone surrogates
    assert (printable(one) == printable(other)) == (one == other)
