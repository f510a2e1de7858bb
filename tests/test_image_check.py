"""What `check` finds in images that can be read but are not sound."""

from __future__ import annotations

import struct

import pytest
from fakes import make_workload
from image_maker import tool
from small_image import (
    FEATURES,
    build,
    file_at,
    inode_offset,
    opened,
    patched,
    problems_of,
    surveyed,
)

from harness.image.look import cut_back, with_image
from harness.trace import FileObservation, Final, Observation, Step, Trace
from workloads.images import IMAGES
from workloads.workload import Config

NEEDS_RECOVERY = 0x4


def superblock(data: bytes, offset: int, form: str) -> int:
    (value,) = struct.unpack_from(form, data, 1024 + offset)
    return int(value)


def test_a_sound_image_has_no_problem():
    assert problems_of(build()) == []


def test_a_block_in_use_that_the_bitmap_calls_free():
    data = build()
    block = file_at(data, "/file").mapping.extents[0].physical
    at = opened(data).groups[0].block_bitmap * 1024 + (block - 1) // 8
    cleared = patched(data, (at, bytes([data[at] & ~(1 << (block - 1) % 8)])))
    found = problems_of(cleared)
    assert found[0] == f"group 0: blocks in use but free in the bitmap: {block}"
    assert len(found) == 3  # the group's and the superblock's count do not fit either


def test_blocks_marked_but_not_in_use():
    data = build()
    at = opened(data).groups[0].block_bitmap * 1024 + 500
    assert data[at] == 0
    found = problems_of(patched(data, (at, b"\x0e")))
    assert found[0] == "group 0: blocks marked in the bitmap but not in use: 4002-4004"


def test_padding_of_bitmaps():
    data = build()
    group = opened(data).groups[0]
    for block, what in ((group.block_bitmap, "block"), (group.inode_bitmap, "inode")):
        found = problems_of(patched(data, (block * 1024 + 1023, b"\x7f")))
        assert found == [f"group 0: the padding of the {what} bitmap is not set"]


def test_inodes_in_bitmap_and_use():
    data = build()
    at = opened(data).groups[0].inode_bitmap * 1024
    number = file_at(data, "/file").inode.number
    cleared = data[at + (number - 1) // 8] & ~(1 << (number - 1) % 8)
    found = problems_of(patched(data, (at + (number - 1) // 8, bytes([cleared]))))
    assert f"group 0: inodes in use but free in the bitmap: {number}" in found
    found = problems_of(patched(data, (at + 15, b"\x80")))
    assert "group 0: inodes marked in the bitmap but not in use: 128" in found


@pytest.mark.parametrize(
    ("offset", "said"),
    [(12, "free blocks"), (14, "free inodes"), (16, "directories")],
)
def test_counts_of_a_group(offset, said):
    data = build()
    (count,) = struct.unpack_from("<H", data, 2048 + offset)
    found = problems_of(patched(data, (2048 + offset, struct.pack("<H", count - 1))))
    assert len(found) == 1
    assert found[0].startswith(f"group 0: counts {count - 1} ")
    assert said in found[0]


@pytest.mark.parametrize(("offset", "said"), [(12, "free blocks"), (16, "free inodes")])
def test_counts_of_the_superblock(offset, said):
    data = build()
    count = superblock(data, offset, "<I")
    found = problems_of(patched(data, (1024 + offset, struct.pack("<I", count + 1))))
    assert found == [f"superblock: counts {count + 1} {said}, the bitmaps {count}"]


def test_i_blocks_and_links():
    data = build()
    at = inode_offset(data, file_at(data, "/file").inode.number)
    assert problems_of(patched(data, (at + 28, struct.pack("<I", 8)))) == [
        "/file: i_blocks is 8 sectors, what it maps needs 6"
    ]
    assert problems_of(patched(data, (at + 26, struct.pack("<H", 3)))) == [
        "/file: link count is 3, but 1 names lead to it"
    ]
    folder = inode_offset(data, file_at(data, "/folder").inode.number)
    assert problems_of(patched(data, (folder + 26, struct.pack("<H", 2)))) == [
        "/folder: link count is 2, but 3 names lead to it"
    ]


@pytest.mark.parametrize("casefold", [False, True], ids=["without", "with the feature"])
def test_the_casefold_flag_is_a_directorys(casefold, tmp_path):
    """e2fsck says so too."""
    data = build(f"{FEATURES},casefold") if casefold else build()

    def flagged(path: str) -> list[str]:
        at = inode_offset(data, file_at(data, path).inode.number) + 32
        (flags,) = struct.unpack_from("<I", data, at)
        changed = patched(data, (at, struct.pack("<I", flags | 0x40000000)))
        image = tmp_path / "image"
        image.write_bytes(changed)
        said = tool("e2fsck", "-fn", str(image))
        found = problems_of(changed)
        assert ("casefold flag" in said.stdout) == bool(found), said.stdout
        return found

    assert flagged("/file") == ["/file: has the casefold flag, but is no directory"]
    lacking = "/folder: has the casefold flag, but the file system lacks the feature"
    assert flagged("/folder") == ([] if casefold else [lacking])


def test_bytes_past_the_end_that_are_not_zero():
    data = build()
    at = file_at(data, "/file").mapping.extents[0].physical * 1024 + 2500
    assert problems_of(patched(data, (at + 7, b"abc"))) == [
        "/file: bytes 2507-2509 past the end, 2500 bytes, are not zero"
    ]


def test_written_blocks_past_the_end():
    data = build()
    at = inode_offset(data, file_at(data, "/file").inode.number)
    assert problems_of(patched(data, (at + 4, struct.pack("<I", 1024)))) == [
        "/file: written blocks 1-2 lie past the end, 1024 bytes"
    ]
    # Unwritten ones may lie there.
    other = inode_offset(data, file_at(data, "/other").inode.number)
    assert problems_of(patched(data, (other + 4, struct.pack("<I", 3072)))) == []


def test_bytes_past_the_end_of_inline_data():
    features = f"{FEATURES},inline_data"
    data = build(features, commands=("write {folder}/empty file", "symlink link target"))
    at = inode_offset(data, file_at(data, "/file").inode.number)
    assert file_at(data, "/file").inode.is_inline
    assert problems_of(patched(data, (at + 45, b"z"))) == [
        "/file: bytes 5-5 past the end, 0 bytes, are not zero"
    ]


def test_clusters_that_are_torn_or_shifted():
    commands = ("write {folder}/data file", "fallocate file 10 10")
    data = build(f"{FEATURES},bigalloc", "-C", "4096", commands=commands)
    file = file_at(data, "/file")
    first, second = file.mapping.extents
    assert (first.logical, second.logical) == (0, 10)
    at = inode_offset(data, file.inode.number) + 40 + 12
    shifted = patched(data, (at + 12 + 8, struct.pack("<I", second.physical + 1)))
    assert problems_of(shifted) == [
        f"/file: block 10 is at {second.physical + 1}, not aligned alike"
    ]
    torn = struct.pack("<IHHI", 3, 1, 0, second.physical + 1)
    found = problems_of(patched(data, (at + 12, torn)))
    assert found == [
        f"/file: cluster 0 of the file lies in clusters {first.physical // 4},"
        f" {second.physical // 4}",
        "/file: written blocks 3-3 lie past the end, 2500 bytes",
    ]


def test_users_of_an_attribute_block_and_references_to_a_value():
    data = build()
    block = file_at(data, "/other").inode.xattr_block
    assert problems_of(patched(data, (block * 1024 + 4, b"\x03"))) == [
        f"block {block}: attributes of 1 inodes, but it counts 3"
    ]
    commands = ("write {folder}/data file", "ea_set file user.huge " + "h" * 3000)
    data = build(f"{FEATURES},ea_inode", commands=commands)
    ((number, holder),) = surveyed(data).values.items()
    assert holder.inode.size == 3000
    version = inode_offset(data, number) + 36
    assert problems_of(patched(data, (version, b"\x05"))) == [
        f"inode {number}: counts 5 references to its value, 1 are there"
    ]


def test_bytes_past_the_end_of_a_link():
    data = build()
    at = file_at(data, "/slow").mapping.extents[0].physical * 1024
    assert problems_of(patched(data, (at + 100, b"x"))) == [
        "/slow: bytes 100-100 past the end, 100 bytes, are not zero"
    ]


def test_a_parent_or_a_type_that_does_not_fit():
    data = build()
    folder = file_at(data, "/folder/inner")
    at = folder.mapping.extents[0].physical * 1024
    assert problems_of(patched(data, (at + 12, struct.pack("<I", 2)))) == [
        f"/folder/inner: its .. is inode 2, its parent inode {folder.parent}"
    ]
    root = file_at(data, "/").mapping.extents[0].physical * 1024
    entry = data.index(b"file", root)
    assert problems_of(patched(data, (entry - 1, b"\x07"))) == [
        "/: entry file has type 7, its inode 1"
    ]


def test_a_name_in_the_wrong_leaf():
    data = build()
    leaf = file_at(data, "/folder").mapping.extents[-1].physical * 1024
    at = data.index(b"name-", leaf) + 20
    found = problems_of(patched(data, (at, b"X")))
    assert len(found) == 1
    assert "is in the wrong leaf" in found[0]


def test_a_block_used_twice():
    data = build()
    numbers = sorted(file_at(data, path).inode.number for path in ("/file", "/other"))
    taken = file_at(data, "/other").mapping.extents[0].physical
    root = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, 0, 3, 0, taken)
    at = inode_offset(data, file_at(data, "/file").inode.number) + 40
    found = problems_of(patched(data, (at, root)))
    assert found[0] == f"block {taken}: used twice, by inode {numbers[0]} and inode {numbers[1]}"
    assert "marked in the bitmap but not in use" in found[1]


def test_what_a_mounted_or_failed_file_system_leaves():
    data = build()
    incompat = superblock(data, 0x60, "<I")
    assert problems_of(
        patched(data, (1024 + 0x60, struct.pack("<I", incompat | NEEDS_RECOVERY)))
    ) == ["superblock: the journal needs recovery (needs_recovery is set)"]
    assert problems_of(patched(data, (1024 + 58, b"\0"))) == [
        "superblock: not cleanly unmounted (state 0x0)"
    ]
    errors = patched(
        data, (1024 + 0x194, struct.pack("<I", 3)), (1024 + 0x1A8, b"ext4_lookup\0"),
        (1024 + 0x1C8, struct.pack("<I", 1700)),
    )  # fmt: skip
    assert problems_of(errors) == ["superblock: 3 errors noted, the first in ext4_lookup:1700"]


def test_orphans_are_listed():
    data = build()
    number = file_at(data, "/file").inode.number
    found = problems_of(patched(data, (1024 + 0xE8, struct.pack("<I", number))))
    assert found == [f"superblock: orphans are left: inode {number}"]


def test_a_journal_with_transactions_or_an_error():
    data = build()
    at = surveyed(data).system[8].mapping.extents[0].physical * 1024
    assert problems_of(patched(data, (at + 28, struct.pack(">I", 5)))) == [
        "journal: holds transactions, but needs_recovery is not set"
    ]
    assert problems_of(patched(data, (at + 32, struct.pack(">I", 5)))) == ["journal: notes error 5"]


@pytest.mark.parametrize(
    ("image", "shut_down", "found"),
    [("nojournal", True, False), ("nojournal", False, True), ("4k", True, True)],
)
def test_only_a_shutdown_without_a_journal_excuses_the_missing_mark(
    tmp_path, image, shut_down, found
):
    path = tmp_path / "image"
    path.write_bytes(patched(build(), (1024 + 58, b"\0")))
    final = with_image(Final(Observation()), path, Config(IMAGES[image]), shut_down)
    assert bool(final.image) == found


@pytest.mark.parametrize(
    ("image", "shut_down", "longer", "found"),
    [
        ("4k", True, ("/file",), False),
        ("4k", True, ("/other",), True),
        ("4k", False, ("/file",), True),
        ("nojournal", True, (), False),
    ],
)
def test_a_crash_excuses_bytes_past_the_end_of_a_file_that_was_longer(
    tmp_path, image, shut_down, longer, found
):
    data, path = build(), tmp_path / "image"
    at = file_at(data, "/file").mapping.extents[0].physical * 1024 + 2507
    path.write_bytes(patched(data, (at, b"abc")))
    final = with_image(
        Final(Observation()), path, Config(IMAGES[image]), shut_down, frozenset(longer)
    )
    assert bool(final.image) == found


def test_a_crash_excuses_no_blocks_past_the_end(tmp_path):
    data, path = build(), tmp_path / "image"
    at = inode_offset(data, file_at(data, "/file").inode.number)
    path.write_bytes(patched(data, (at + 4, struct.pack("<I", 1024))))
    final = with_image(
        Final(Observation()),
        path,
        Config(IMAGES["4k"]),
        shut_down=True,
        longer=frozenset({"/file"}),
    )
    assert any("written blocks" in line for line in final.image or ())


@pytest.mark.parametrize(
    ("line", "before", "after", "found"),
    [
        ("pwrite a 0 5000; shutdown 1", {"a": 5000}, {"a": 4096}, {"/a"}),
        ("pwrite a 0 4k; shutdown 1", {"a": 4096}, {"a": 4096}, set()),
        ("pwrite a 0 4k; shutdown 1", {}, {"a": 4096}, set()),
        ("rename a b; shutdown 1", {"b": 5000}, {"a": 4096}, {"/a"}),
    ],
)
def test_files_that_were_seen_longer_than_they_are_at_the_end(line, before, after, found):
    def seen(sizes):
        return Observation({name: FileObservation(size=size) for name, size in sizes.items()})

    steps = (Step(0, None, seen(before)), Step(0, None, Observation(error="EIO")))
    trace = Trace(make_workload(line), "guest", seen({}), steps, Final(seen(after)))
    assert cut_back(trace) == found
