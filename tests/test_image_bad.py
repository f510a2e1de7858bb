"""Images that are cut or damaged: a clear error that names the structure and the block."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
from pathlib import Path

import pytest
from small_image import build, file_at, inode_offset, opened, patched, surveyed

from harness.errors import USAGE, UsageError
from harness.image.canonical import canonical_of
from harness.image.survey import Survey
from model.image import FileSource, Filesystem, ImageError, MemorySource

I_SIZE, I_BLOCK, I_FILE_ACL, I_SIZE_HIGH = 4, 40, 104, 108
FEATURES_CSUM = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,metadata_csum"


def refused(data: bytes) -> ImageError:
    """The error that a whole reading ends with."""
    with pytest.raises(ImageError) as caught:
        canonical_of(Survey(Filesystem(MemorySource(data))))
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_status == USAGE
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1500, 2047])
def test_a_cut_superblock_is_named(size):
    error = refused(build()[:size])
    assert error.structure == "superblock"
    assert f"{size} bytes" in error.reason


@pytest.mark.parametrize("size", [2048, 100_000, (4 << 20) - 1])
def test_a_cut_image_is_told_by_its_superblock(size):
    error = refused(build()[:size])
    assert error.structure == "superblock"
    assert "it is cut" in error.reason


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(build())
    with Filesystem.open(path) as fs:
        os.truncate(path, 5000)
        with pytest.raises(ImageError, match="the file ends inside it"):
            Survey(fs)


@pytest.mark.parametrize("content", [b"", b"MZ" * 4000, bytes(1 << 16)])
def test_what_is_no_file_system_is_refused(content):
    assert refused(content).structure == "superblock"


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (24, b"\xff", "block size 1024 << 255 is too large"),
        (28, b"\x03", None),
        (32, struct.pack("<I", 0), "clusters and blocks per group differ"),
        (40, struct.pack("<I", 0), "0 inodes per group cannot be"),
        (40, struct.pack("<I", 0xFFFFFFF8), "inodes per group cannot be"),
        (0, struct.pack("<I", 0xFFFFFFFF), "inodes are not 1 groups of"),
        (4, struct.pack("<I", 0xFFFFFFFF), "do not fit the file's"),
        (4, struct.pack("<I", 1), "are too few"),
        (20, struct.pack("<I", 7), "first data block 7 cannot be"),
        (88, struct.pack("<H", 0), "inode size 0 cannot be"),
        (88, struct.pack("<H", 300), "inode size 300 cannot be"),
        (84, struct.pack("<I", 0), "first inode 0 cannot be"),
        (0xFE, struct.pack("<H", 3), "group descriptor size 3 cannot be"),
        (0xCE, struct.pack("<H", 60000), "60000 reserved descriptor blocks cannot be"),
        (76, struct.pack("<I", 9), "revision 9 is not known"),
        (96, struct.pack("<I", 0x10042), "feature not read: encrypt"),
        (96, struct.pack("<I", 0x80000042), "feature not read: incompat_0x80000000"),
        (100, struct.pack("<I", 0x100000), "feature not read: ro_compat_0x100000"),
        (56, b"\0\0", "wrong magic"),
    ],
)
def test_a_superblock_that_cannot_be_is_refused(offset, value, reason):
    data = patched(build(), (1024 + offset, value))
    if reason is None:  # the cluster size has no meaning without bigalloc
        surveyed(data)
        return
    error = refused(data)
    assert error.structure == "superblock"
    assert reason in error.reason


@pytest.mark.parametrize(
    ("pack", "unpack"), [(gzip.compress, "gzip -dc image"), (lzma.compress, "xz -dc image")]
)
def test_a_packed_image_is_told_how_to_unpack_it(pack, unpack):
    """Artifacts keep images as .img.gz; a tiny one is shorter than a superblock, too."""
    for data in (build(), b""):
        error = refused(pack(data))
        assert error.structure == "file"
        assert f"unpack it first: {unpack} | cp --sparse=always /dev/stdin disk.img" in str(error)


@pytest.mark.parametrize("offset", [0, 4, 8])
@pytest.mark.parametrize("block", [0, 1, 4096, 0xFFFFFFFF])
def test_a_descriptor_that_points_outside_is_named(offset, block):
    data = patched(build(), (2048 + offset, struct.pack("<I", block)))
    error = refused(data)
    assert error.structure == "descriptor of group 0"
    assert error.block == 2


def test_checksums_are_verified_and_reading_past_them_is_a_choice():
    data = build(FEATURES_CSUM)
    offset = inode_offset(data, 2)
    damaged = patched(data, (offset + 8, b"\x01\x02\x03"))  # the access time
    error = refused(damaged)
    assert (error.structure, error.reason) == ("inode 2", "wrong checksum")
    assert error.block == offset // 1024
    assert Survey(opened(damaged, verify=False)).files


def checksummed(what: str) -> tuple[bytes, int, str]:
    """An image, a byte of the structure `what`, and its name in errors."""
    data = build(FEATURES_CSUM)
    survey = surveyed(data)
    fs = survey.fs
    other, folder = file_at(data, "/other"), file_at(data, "/folder")
    blocks = {
        "superblock": (1, "superblock"),
        "descriptor": (2, "descriptor of group 0"),
        "block bitmap": (fs.groups[0].block_bitmap, "block bitmap of group 0"),
        "inode bitmap": (fs.groups[0].inode_bitmap, "inode bitmap of group 0"),
        "extent tree": (other.mapping.tree[0], f"extent tree of inode {other.inode.number}"),
        "attributes": (
            other.inode.xattr_block, f"extended attributes of inode {other.inode.number}",
        ),
        "hash tree": (
            folder.mapping.extents[0].physical,
            f"hash tree of directory, inode {folder.inode.number}",
        ),
        "leaf": (
            folder.mapping.extents[-1].physical, f"directory, inode {folder.inode.number}",
        ),
    }  # fmt: skip
    block, name = blocks[what]
    return data, block * 1024 + 13, name


@pytest.mark.parametrize(
    "what",
    [
        "superblock", "descriptor", "block bitmap", "inode bitmap", "extent tree", "attributes",
        "hash tree", "leaf",
    ],
)  # fmt: skip
def test_a_flipped_bit_in_any_structure_is_found(what):
    data, at, name = checksummed(what)
    damaged = patched(data, (at, bytes([data[at] ^ 4])))
    with pytest.raises(ImageError) as caught:
        survey = Survey(Filesystem(MemorySource(damaged)))
        survey.fs.groups.block_bitmap(0)
        survey.fs.groups.inode_bitmap(0)
    assert caught.value.structure == name


# --- extent trees and block maps -------------------------------------------------------


def with_root(number: int, root: bytes) -> bytes:
    data = build()
    return patched(data, (inode_offset(data, number) + I_BLOCK, root))


def header(entries: int, depth: int, room: int = 4) -> bytes:
    return struct.pack("<HHHHI", 0xF30A, entries, room, depth, 0)


def test_a_loop_in_an_extent_tree_ends():
    data = build()
    other = file_at(data, "/other")
    node = other.mapping.tree[0]
    offset = node * 1024
    root = header(1, 2) + struct.pack("<IIHH", 0, node, 0, 0)
    inner = header(1, 1, 84) + struct.pack("<IIHH", 0, node, 0, 0)
    at = inode_offset(data, other.inode.number) + I_BLOCK
    error = refused(patched(data, (at, root), (offset, inner)))
    assert error.structure == f"extent tree of inode {other.inode.number}"
    assert error.block == node
    assert error.reason == "the node is reached twice"


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (header(5, 0), "5 of 4 entries"),
        (header(1, 0, 400), "in room for 4"),
        (header(0, 3), "an index without entries"),
        (header(1, 9), "depth 9 cannot be"),
        (b"\0" * 12, "wrong magic"),
        (header(1, 0) + struct.pack("<IHHI", 0, 0, 0, 100), "0 blocks, is out of order"),
        (header(1, 0) + struct.pack("<IHHI", 0, 1, 0, 0), "are outside"),
        (header(1, 0) + struct.pack("<IHHI", 0, 1, 0xFFFF, 0xFFFFFFFF), "are outside"),
        (header(1, 0) + struct.pack("<IHHI", 0, 32768, 0, 100), "are outside"),
        (
            header(2, 0) + struct.pack("<IHHIIHHI", 5, 2, 0, 3000, 6, 1, 0, 3010),
            "is out of order",
        ),
        (header(1, 1) + struct.pack("<IIHH", 0, 0xFFFFFF, 0, 0), "outside the file system's"),
    ],
)
def test_an_extent_tree_that_cannot_be_is_refused(root, reason):
    number = file_at(build(), "/file").inode.number
    error = refused(with_root(number, root))
    assert error.structure == f"extent tree of inode {number}"
    assert reason in error.reason


def test_a_loop_in_indirect_blocks_ends():
    data = build("none,filetype,has_journal,dir_index")
    number = file_at(data, "/file").inode.number
    node = file_at(data, "/file").mapping.extents[0].physical
    at = inode_offset(data, number) + I_BLOCK
    pointers = struct.pack("<15I", *[0] * 14, node)
    error = refused(
        patched(data, (at, pointers), (node * 1024, struct.pack("<256I", *[node] * 256)))
    )
    assert error.structure == f"indirect blocks of inode {number}"
    assert error.reason == "the block is reached twice"
    assert error.block == node


def test_a_block_number_outside_is_refused():
    data = build("none,filetype,has_journal,dir_index")
    number = file_at(data, "/file").inode.number
    at = inode_offset(data, number) + I_BLOCK
    error = refused(patched(data, (at, struct.pack("<I", 0x7FFFFFFF))))
    assert error.structure == f"block map of inode {number}"
    assert "2147483647 + 1" in error.reason


# --- directories, attributes, sizes ----------------------------------------------------


def test_a_directory_that_holds_itself_is_refused():
    data = build()
    folder = file_at(data, "/folder")
    blocks = [extent.physical for extent in folder.mapping.extents]
    for start in range(blocks[0] * 1024, (blocks[-1] + 8) * 1024, 4):
        if data[start + 8 : start + 13] == b"inner" and data[start + 6] == 5:
            damaged = patched(data, (start, struct.pack("<I", folder.inode.number)))
            error = refused(damaged)
            assert error.structure == f"inode {folder.inode.number}"
            assert "directory reached twice, as /folder and /folder/inner" in error.reason
            return
    pytest.fail("no entry called inner")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (struct.pack("<IHBB", 2, 0, 1, 2), "entry of 0 bytes"),
        (struct.pack("<IHBB", 2, 13, 1, 2), "entry of 13 bytes"),
        (struct.pack("<IHBB", 2, 8, 1, 2), "entry of 8 bytes"),
        (struct.pack("<IHBB", 2, 2000, 1, 2), "entry of 2000 bytes"),
        (struct.pack("<IHBB", 0xFFFFFFFF, 12, 1, 2), "has inode 4294967295"),
        (struct.pack("<IHBB", 2, 12, 1, 2) + b"x", "does not start with . and .."),
        (struct.pack("<IHBB", 2, 12, 1, 2) + b"/", "cannot be"),
    ],
)
def test_an_entry_that_cannot_be_is_named(entry, reason):
    data = build()
    root = file_at(data, "/").mapping.extents[0].physical
    error = refused(patched(data, (root * 1024, entry)))
    assert error.structure == "directory, inode 2"
    assert reason in error.reason


def test_a_directory_with_a_huge_size_is_refused_at_once():
    data = build()
    at = inode_offset(data, 2)
    error = refused(patched(data, (at + I_SIZE, struct.pack("<I", 0xFFFFFC00))))
    assert error.structure == "directory, inode 2"
    assert "1 blocks are mapped" in error.reason


def test_a_file_with_a_huge_size_costs_nothing():
    data = build()
    number = file_at(data, "/file").inode.number
    at = inode_offset(data, number)
    huge = patched(data, (at + I_SIZE_HIGH, struct.pack("<I", 0x300)))
    whole = canonical_of(surveyed(huge))
    assert whole.files["/file"].size == (0x300 << 32) + 2500
    error = refused(patched(data, (at + I_SIZE_HIGH, struct.pack("<I", 0x70000000))))
    assert "bytes are too many" in error.reason


@pytest.mark.parametrize("block", [0xFFFFFFFF, 3])
def test_an_attribute_block_that_is_none_is_refused(block):
    data = build()
    number = file_at(data, "/file").inode.number
    at = inode_offset(data, number) + I_FILE_ACL
    error = refused(patched(data, (at, struct.pack("<I", block))))
    assert error.structure == f"extended attributes of inode {number}"
    assert error.block == block


def test_an_entry_that_names_an_inode_that_is_not_in_use_is_refused():
    data = build()
    number = file_at(data, "/file").inode.number
    error = refused(patched(data, (inode_offset(data, number), bytes(128))))
    assert (error.structure, error.reason) == (f"inode {number}", "is not in use")


def test_two_files_in_the_same_block_have_no_canonical_form():
    data = build()
    numbers = [file_at(data, path).inode.number for path in ("/file", "/other")]
    first = inode_offset(data, numbers[0]) + I_BLOCK
    taken = file_at(data, "/other").mapping.extents[0].physical
    root = header(1, 0) + struct.pack("<IHHI", 0, 3, 0, taken)
    error = refused(patched(data, (first, root)))
    assert error.reason == "use the same block"
    assert error.block == taken
    assert {f"inode {number}" for number in numbers} == set(error.structure.split(" and "))


def test_an_orphan_list_that_bites_its_tail_is_refused():
    data = build()
    number = file_at(data, "/file").inode.number
    at = inode_offset(data, number)
    damaged = patched(
        data, (1024 + 0xE8, struct.pack("<I", number)), (at + 20, struct.pack("<I", number))
    )
    error = refused(damaged)
    assert (error.structure, error.reason) == ("orphan list", f"inode {number} is reached twice")


U16, U32 = struct.Struct("<H"), struct.Struct("<I")


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (24, U32.pack(1), "the root is malformed"),
        (30, b"\x02", "2 levels cannot be"),
        (32, U16.pack(7), "in room for 7"),
        (34, U16.pack(0), "0 entries in room for"),
        (36, U32.pack(200), "block 200 is past the directory's end"),
        (36, U32.pack(0), "block 0 of the directory is reached twice"),
        (44, U32.pack(1), "block 1 of the directory is reached twice"),
        (40, U32.pack(0xFFFFFFFF), "hashes are out of order"),
    ],
)
def test_a_hash_tree_that_cannot_be_is_refused(at, value, reason):
    data = build()
    folder = file_at(data, "/folder")
    root = folder.mapping.extents[0].physical
    error = refused(patched(data, (root * 1024 + at, value)))
    assert error.structure == f"hash tree of directory, inode {folder.inode.number}"
    assert (error.block, reason in error.reason) == (root, True), error.reason


def test_a_hash_tree_starts_with_itself_and_its_parent():
    data = build()
    folder = file_at(data, "/folder")
    root = folder.mapping.extents[0].physical
    error = refused(patched(data, (root * 1024 + 6, b"\x02")))
    assert error.structure == f"directory, inode {folder.inode.number}"
    assert error.reason == "no . and .."


def test_a_leaf_that_no_hash_leads_to_is_refused():
    data = build()
    folder = file_at(data, "/folder")
    root = folder.mapping.extents[0].physical * 1024
    (count,) = U16.unpack_from(data, root + 34)
    (lost,) = U32.unpack_from(data, root + 32 + 8 * (count - 1) + 4)
    error = refused(patched(data, (root + 34, U16.pack(count - 1))))
    assert error.reason == "is not reached by the hash tree"
    blocks = [
        block
        for extent in folder.mapping.extents
        for block in range(extent.physical, extent.physical + extent.length)
    ]
    assert error.block == blocks[lost]


def test_a_name_that_occurs_twice_is_refused():
    """`file` and `link` of the root directory are as long as each other."""
    data = build()
    root = file_at(data, "/").mapping.extents[0].physical * 1024
    at = data.index(b"link", root, root + 1024)
    error = refused(patched(data, (at, b"file")))
    assert (error.structure, error.reason) == ("directory, inode 2", "a name occurs twice")


def test_a_directory_with_a_block_that_is_unwritten_is_refused():
    data = build()
    root = file_at(data, "/").mapping.extents[0].physical
    tree = header(1, 0) + struct.pack("<IHHI", 0, 0x8001, 0, root)
    error = refused(patched(data, (inode_offset(data, 2) + I_BLOCK, tree)))
    assert error.structure == "directory, inode 2"
    assert error.reason == "a hole or an unwritten block"


def test_an_extent_index_that_is_not_where_its_parent_says_is_refused():
    data = build()
    other = file_at(data, "/other")
    node = other.mapping.tree[0]
    structure = f"extent tree of inode {other.inode.number}"
    inner = header(1, 1, 84) + struct.pack("<IIHH", 5, node + 1, 0, 0)
    root = header(1, 2) + struct.pack("<IIHH", 0, node, 0, 0)
    at = inode_offset(data, other.inode.number) + I_BLOCK
    error = refused(patched(data, (at, root), (node * 1024, inner)))
    assert error.structure == structure
    assert error.reason == "first index at 5, but its parent says 0"
    two = header(2, 1) + 2 * struct.pack("<IIHH", 0, node, 0, 0)
    error = refused(patched(data, (at, two)))
    assert error.structure == structure
    assert "is out of order" in error.reason


@pytest.mark.parametrize(
    ("target", "reason"), [(b"\0\0\0\0\0\0", "a link's target that cannot be")]
)
def test_a_link_whose_target_cannot_be_is_refused(target, reason):
    data = build()
    number = file_at(data, "/link").inode.number
    error = refused(patched(data, (inode_offset(data, number) + I_BLOCK, target)))
    assert (error.structure, error.reason) == (f"inode {number}", reason)


def journal_at(data: bytes) -> int:
    """The byte where the journal's superblock starts."""
    return opened(data).mapping(opened(data).inode(8)).extents[0].physical * 1024


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"\0", "wrong magic or type"),
        (4, struct.pack(">I", 2), "wrong magic or type"),
        (12, struct.pack(">I", 2048), "blocks of 2048 bytes; 1024 are mapped"),
        (16, struct.pack(">I", 1 << 20), "1048576 blocks of 1024 bytes; 1024 are mapped"),
    ],
)
def test_a_journal_that_cannot_be_is_refused(at, value, reason):
    data = build()
    with pytest.raises(ImageError) as caught:
        opened(patched(data, (journal_at(data) + at, value))).journal()
    assert caught.value.structure == "journal superblock"
    assert reason in caught.value.reason


def test_a_journal_without_a_first_block_is_refused():
    data = build()
    damaged = patched(data, (inode_offset(data, 8) + I_BLOCK, header(0, 0)))
    with pytest.raises(ImageError, match="the journal's first block is not mapped"):
        opened(damaged).journal()


# --- what is no image ------------------------------------------------------------------


def test_devices_and_what_is_no_regular_file_are_refused(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = tmp_path / "link"
    link.symlink_to("/dev/zero")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (Path("/dev/zero"), Path("/dev/null"), fifo, link, tmp_path, loop):
        with pytest.raises(ImageError) as caught:
            FileSource(path)
        assert caught.value.structure == "file"
    with pytest.raises(ImageError, match="No such file"):
        FileSource(tmp_path / "missing")


def test_a_short_link_that_does_not_end_is_refused():
    data = build()
    number = file_at(data, "/link").inode.number
    error = refused(patched(data, (inode_offset(data, number) + I_BLOCK + 6, b"s")))
    assert (error.structure, error.reason) == (f"inode {number}", "a link's target does not end")


def test_folders_nested_without_end_are_refused():
    names = [f"n{number:03}" + "x" * 250 for number in range(70)]
    commands = [line for name in names for line in (f"mkdir {name}", f"cd {name}")]
    error = refused(build(FEATURES_CSUM, commands=tuple(commands)))
    assert error.reason == "path longer than 16384"


def test_a_value_in_an_inode_of_its_own_is_verified():
    commands = ("write {folder}/data file", "ea_set -f {folder}/data file user.huge")
    data = build(f"{FEATURES_CSUM},ea_inode", commands=commands)
    survey = surveyed(data)
    ((number, holder),) = survey.values.items()
    at = holder.mapping.extents[0].physical * 1024
    error = refused(patched(data, (at + 5, b"\xee")))
    assert error.structure == f"inode {number}, an attribute's value"
    assert error.reason == "wrong hash"
