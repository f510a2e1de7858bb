"""The model's image for users: beside a mismatch, and from the command line."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import make_trace, make_workload

from harness.artifacts.artifact import keep
from harness.cli import main
from harness.comparison.compare import compare
from harness.errors import AGREE, MACHINERY, USAGE
from harness.image.canonical import canonical
from harness.pairs import Pair
from harness.sides.model_side import ModelSide
from harness.sides.side import Side
from harness.trace import Extent, State, Trace, encode
from harness.verdict import Compared
from model.image.filesystem import Filesystem
from vm import mkfs
from vm.host_tools import ensure_host_tools
from workloads.workload import Workload

LINE = "pwrite a 0 10000; falloc_keep a 65536 8192"
PLACES = (Extent(0, 1 << 20, State.WRITTEN, 40 << 20),)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of our own, so that other runs do not prune the images."""
    ensure_host_tools(["mke2fs", "e2fsck"])
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield
    patch.undo()
    shutil.rmtree(folder)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out.img"
    (tmp_path / "out.img").unlink(missing_ok=True)


def kept(folder: Path, workload: Workload) -> str:
    """Keep a comparison of the model with nothing; the README's text."""
    model = ModelSide()
    placement = tuple({"a": PLACES} for _ in range(len(workload.ops) + 1))
    model.run(workload, placement, frozenset())
    expected = model.run(workload, placement, frozenset())
    actual: Trace = make_trace(workload, "kernel", "7.3.4")
    other = Side()
    other.name = "guest"
    compared = Compared(compare(expected, actual), expected, actual)
    keep(compared, Pair(model, other), folder, "why")
    return (folder / "README.txt").read_text()


def test_a_mismatch_keeps_the_models_image(tmp_path, out):
    text = kept(tmp_path / "kept", make_workload(LINE))
    assert "expected.img.gz is the disk as the model has it" in text
    packed = tmp_path / "kept" / "expected.img.gz"
    out.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert mkfs.fsck(out) == ""
    with Filesystem.open(out) as fs:
        entry = canonical(fs).files["/a"]
    assert entry.size == 10000
    assert [(e.start, e.length, str(e.state)) for e in entry.extents] == [
        (0, 12288, "written"), (65536, 8192, "unwritten"),
    ]  # fmt: skip
    assert not [path for path in (tmp_path / "kept").iterdir() if path.name.startswith(".")]


def test_the_readme_says_why_there_is_no_image(tmp_path):
    names = "; ".join(f"pwrite {'n' * 80}{number} 0 0" for number in range(12))
    text = kept(tmp_path, make_workload(names, "1k@delalloc"))
    assert "There is no expected.img.gz" in text
    assert "root directory would need another block" in text
    assert not [path for path in tmp_path.iterdir() if "img" in path.name]


def test_a_trace_of_another_run_gets_no_image(tmp_path):
    model = ModelSide()
    old = model.run(make_workload(LINE), None, frozenset())
    model.run(make_workload("pwrite a 0 1"), None, frozenset())
    assert model.save_image(tmp_path, old) == ""


def test_the_command_writes_the_image_of_a_workload_file(tmp_path, out, capsys):
    source = tmp_path / "first.ops"
    source.write_text("show: x\non: 1k@delalloc 4k@delalloc\n\npwrite a 0 5000\n")
    assert main(["image", "expected", str(source), str(out)]) == AGREE
    said = capsys.readouterr().out
    assert "not where a kernel put them: a\n" in said
    assert "extent tree and i_blocks are not known, the smallest tree was written: a\n" in said
    with Filesystem.open(out) as fs:
        assert fs.volume.block_size == 1024
    assert main(["image", "check", str(out)]) == AGREE
    capsys.readouterr()
    assert main(["image", "expected", "--json", "--on", "4k@delalloc", str(source), str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "image": str(out), "placed": ["a"], "rebuilt": ["a"],
    }  # fmt: skip
    with Filesystem.open(out) as fs:
        assert fs.volume.block_size == 4096


def test_the_command_takes_places_from_the_folder_of_a_mismatch(tmp_path, out, capsys):
    model = ModelSide()
    workload = make_workload("pwrite a 0 5000")
    trace = model.run(workload, ({"a": PLACES},) * 2, frozenset())
    (tmp_path / "actual.json").write_bytes(encode(_seen(trace)))
    assert main(["image", "expected", str(tmp_path), str(out)]) == AGREE
    assert "there was room" not in capsys.readouterr().out
    with Filesystem.open(out) as fs:
        assert [e.physical for e in fs.mapping(fs.inode(12)).extents] == [(40 << 20) // 4096]


def _seen(trace: Trace) -> Trace:
    """The model's own trace with the places as a kernel would report them."""
    raw = msgspec.to_builtins(trace)
    for part in [*raw["steps"], raw["final"]]:
        for extent in part["observation"]["files"]["a"]["extents"]:
            extent["physical"] = (40 << 20) + extent["start"]
    return msgspec.convert(raw, Trace)


def test_what_is_not_covered_is_named(tmp_path, out, capsys):
    source = tmp_path / "first.ops"
    source.write_text("show: x\non: 4k@delalloc,bogus\n\npwrite a 0 5000\n")
    assert main(["image", "expected", str(source), str(out)]) == MACHINERY
    assert "mount options are not modelled: bogus" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "text", "on", "why"),
    [
        ("no.ops", None, None, "cannot read"),
        ("bad.ops", "show: x\n\nfly a\n", None, "fly"),
        ("bad.json", "{}", None, "is no trace"),
        ("good.ops", "show: x\n\npwrite a 0 1\n", "5k@delalloc", "5k@delalloc is no configuration"),
    ],
)
def test_bad_sources_are_usage_errors(tmp_path, out, capsys, name, text, on, why):
    if text is not None:
        (tmp_path / name).write_text(text)
    choice = ["--on", on] if on else []
    assert main(["image", "expected", *choice, str(tmp_path / name), str(out)]) == USAGE
    assert why in capsys.readouterr().err
