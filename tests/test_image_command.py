"""`ext4diff image`: show, diff and check, for people and for programs."""

from __future__ import annotations

import json
import struct

import pytest
from small_image import build, file_at, inode_offset, patched

from harness.cli import main


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(build())
    return str(path)


@pytest.fixture
def changed(tmp_path):
    data = build()
    at = file_at(data, "/file").mapping.extents[0].physical * 1024
    owner = inode_offset(data, file_at(data, "/other").inode.number) + 2
    path = tmp_path / "changed"
    path.write_bytes(patched(data, (at + 100, b"\xff"), (owner, struct.pack("<H", 5))))
    return str(path)


def test_show_lists_what_is_there(image, capsys):
    assert main(["image", "show", image]) == 0
    out = capsys.readouterr().out
    assert "block_size      1024\n" in out
    assert "/file  (3072 written)" in out
    assert "/link -> target" in out


def test_show_of_one_path(image, capsys):
    assert main(["image", "show", image, "/other"]) == 0
    out = capsys.readouterr().out
    assert "size      40960\n" in out
    assert "extents   0-3071 written\nextents   20480-21503 unwritten\n" in out
    assert main(["image", "show", image, "other", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == "/other"
    assert found["shape"] == {"depth": 1, "extents": 21, "tree_blocks": 1}
    assert found["entry"]["extents"][0] == {
        "start": 0, "length": 3072, "state": "written", "physical": None,
    }  # fmt: skip


def test_show_as_json_is_the_canonical_form(image, capsys):
    assert main(["image", "show", image, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"whole", "files", "shapes"}
    assert found["files"]["/file"]["size"] == 2500


def test_diff_of_equal_images_is_status_0(image, capsys):
    assert main(["image", "diff", image, image]) == 0
    assert capsys.readouterr().out == "the images are equal\n"
    assert main(["image", "diff", image, image, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "equal": True, "differences": [], "first_bytes": {},
    }  # fmt: skip


def test_diff_names_path_field_both_values_and_the_first_byte(image, changed, capsys):
    assert main(["image", "diff", image, changed]) == 1
    out = capsys.readouterr().out
    assert "/other: uid: 0 and 5\n" in out
    assert "/file: first at byte 100: 0x65 and 0xff\n" in out
    assert out.endswith("2 differences\n")
    assert main(["image", "diff", image, changed, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"path": "/other", "field": "uid", "first": 0, "second": 5} in found["differences"]
    assert found["first_bytes"] == {"/file": "byte 100: 0x65 and 0xff"}


def test_check_says_clean_or_what_is_wrong(image, tmp_path, capsys):
    assert main(["image", "check", image]) == 0
    assert capsys.readouterr().out == f"{image}: clean, 68 inodes with names\n"
    wrong = tmp_path / "wrong"
    wrong.write_bytes(patched(build(), (1024 + 12, struct.pack("<I", 1))))
    assert main(["image", "check", str(wrong)]) == 1
    assert capsys.readouterr().out.startswith("superblock: counts 1 free blocks, the bitmaps ")
    assert main(["image", "check", str(wrong), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["clean"] is False
    assert [problem["where"] for problem in found["problems"]] == ["superblock"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "/dev/zero"], "/dev/zero: file: cannot be opened: it is below /dev"),
        (["check", "/"], "is no regular file"),
        (["show", "missing"], "missing: file: cannot be opened: No such file"),
        (["diff", "IMAGE", "missing"], "missing: file: cannot be opened"),
        (["show", "IMAGE", "/nothing"], "the image has no /nothing"),
    ],
)
def test_bad_input_is_status_2_in_one_line(image, capsys, words, said):
    assert main(["image", *(image if word == "IMAGE" else word for word in words)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_damaged_image_is_status_2_and_names_structure_and_block(tmp_path, capsys):
    data = build()
    path = tmp_path / "damaged"
    number = file_at(data, "/other").inode.number
    node = file_at(data, "/other").mapping.tree[0]
    path.write_bytes(patched(data, (node * 1024, b"\0\0")))
    for action in (["show"], ["check"], ["diff", str(path)]):
        assert main(["image", *action, str(path)]) == 2
        expected = f"extent tree of inode {number} (block {node}): wrong magic\n"
        assert capsys.readouterr().err == f"ext4diff: {path}: {expected}"
