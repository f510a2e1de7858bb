"""After every workload the kernel's image is compared with the one that the model expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fakes import make_form, make_trace, make_workload
from image_maker import tool
from modelled import RECORDINGS

from harness.comparison.compare import compare
from harness.image import look
from harness.image.form import FORM, Canonical
from harness.recordings.recording import NO_IMAGE, load
from harness.running.runner import Runner
from harness.sides.machine import GuestSide
from harness.sides.model_side import ModelSide
from harness.sides.side import Choice
from harness.trace import Extent, FileObservation, Observation, State, Trace
from harness.verdict import Compared, Mismatch, Outcome, Verdict
from model import Behaviour, Model
from model.image.errors import ImageError
from model.image.filesystem import Filesystem
from model.image.layout import INODE
from model.image.write_inode import sealed
from model.image_writer import write_image
from reports.terminal import explain
from vm import mkfs
from vm.host_tools import ensure_host_tools

AT = 40 << 20
"""Byte of the disk where the file begins."""
PLACES = (Extent(0, 1 << 20, State.WRITTEN, AT),)
LINE = "pwrite a 0 10000; falloc_keep a 65536 8192; fsync a"
FIRST_FILE = 12  # its inode


# --- the comparison itself ---------------------------------------------------------------


def ends(expected: Canonical | None, actual: Canonical | None, **unpredicted: str) -> Verdict:
    """The verdict on two traces that differ in their images' forms at most."""
    model, guest = make_trace(), make_trace(subject="guest")
    reasons = {key.replace("_", " ", 1): why for key, why in unpredicted.items()}
    mine = msgspec.structs.replace(model.final, form=expected, unpredicted=reasons)
    theirs = msgspec.structs.replace(guest.final, form=actual)
    return compare(
        msgspec.structs.replace(model, final=mine), msgspec.structs.replace(guest, final=theirs)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "link"), ("mode", "0600"), ("uid", 1), ("gid", 1), ("project", 1), ("size", 4095),
        ("links", 2), ("flags", "0x0"), ("blocks", 16), ("content", "other"), ("target", "b"),
        ("device", "1:2"), ("same_as", "/b"), ("xattrs", {"user.x": "00"}),
        ("extents", (Extent(0, 4096, State.UNWRITTEN),)),
    ],
)  # fmt: skip
def test_every_field_of_a_path_counts(field: str, value: object) -> None:
    verdict = ends(make_form(), make_form(**{field: value}))
    (mismatch,) = verdict.mismatches
    assert (mismatch.place, mismatch.file) == ("final", "/a")
    assert mismatch.field == ("image xattrs.user.x" if field == "xattrs" else f"image {field}")


@pytest.mark.parametrize("field", make_form().whole.__struct_fields__)
def test_every_field_of_the_whole_counts(field: str) -> None:
    form = make_form()
    other = msgspec.structs.replace(form.whole, **{field: ()})
    (mismatch,) = ends(form, msgspec.structs.replace(form, whole=other)).mismatches
    assert (mismatch.place, mismatch.file, mismatch.field) == ("final", None, f"image {field}")


def test_a_path_that_one_side_lacks_is_a_mismatch() -> None:
    form = make_form()
    (mismatch,) = ends(form, msgspec.structs.replace(form, files={})).mismatches
    assert (mismatch.file, mismatch.field) == ("/a", "image exists")
    assert (mismatch.expected, mismatch.actual) == ("file", "nothing")


def test_a_report_names_path_field_and_both_values() -> None:
    unwritten = (Extent(0, 4096, State.UNWRITTEN),)
    text = explain(Compared(ends(make_form(), make_form(extents=unwritten, size=5000))))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "/a image size 4096 5000" in rows
    assert "/a image extents 4k written at 0 4k unwritten at 0" in rows


def test_what_the_model_does_not_predict_is_counted_and_the_rest_compared() -> None:
    form, other = make_form(), make_form(blocks=16, size=1)
    why = "it depends on the tree"
    verdict = ends(form, other, **{"/a.image_blocks": why})
    assert [m.field for m in verdict.mismatches] == ["image size"]
    assert verdict.not_compared == {("image blocks", why): 1}
    assert ends(form, form).compared == verdict.compared + 1


def test_a_form_that_a_side_lacks_is_counted_once_with_its_reason() -> None:
    assert ends(None, make_form(), image_form="a full root directory").not_compared == {
        (FORM, "a full root directory"): 1
    }
    assert ends(make_form(), None).not_compared == {(FORM, "not seen by guest"): 1}
    assert ends(make_form(), make_form(), image_form="no longer").not_compared == {}
    assert ends(None, None).not_compared == {(FORM, "not seen by guest"): 1}


def test_a_recording_says_that_it_keeps_no_image() -> None:
    recorded = next(load(RECORDINGS, "bh-hand"))
    expected = make_trace(recorded.workload, final=recorded.final)
    not_compared = compare(expected, recorded).not_compared
    assert {why: count for (field, why), count in not_compared.items() if field == FORM} == {
        NO_IMAGE: 1
    }


# --- the sides: a guest whose disk we write ---------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    ensure_host_tools(["mke2fs", "e2fsck"])
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


Damage = Callable[[Path], object]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Verdict]]:
    """Judges a line of operations: the real model, and a guest that does as the model does
    and whose disk a function damages afterwards."""
    disk = tmp_path / "disk"

    def run(line: str, damage: Damage = lambda _disk: None, config: str = "4k@delalloc") -> Verdict:
        workload = make_workload(line, config)
        trace = _model_as_kernel(workload, disk)
        damage(disk)
        fake = SimpleNamespace(
            dead=False, disk=SimpleNamespace(path=disk), run=lambda *_, observe: trace, judging=0.0
        )
        guest = GuestSide(Choice())
        monkeypatch.setattr(guest, "_alive", lambda *_: fake)
        model = ModelSide()
        model.meet(guest)
        return Runner(model, guest, issues=()).run(workload).verdict

    yield run
    disk.unlink(missing_ok=True)


def _model_as_kernel(workload: Any, disk: Path) -> Trace:
    """What the model does, as a guest would tell it, with its image on `disk`."""
    base = mkfs.image_file(workload.config.image)
    model = Model(Behaviour.of_release(None), lambda _image: mkfs.read_geometry(base))
    placement = tuple({"a": PLACES} for _ in range(len(workload.ops) + 1))
    trace, mount = model.play(workload, placement)
    write_image(mount, base, disk)
    steps = tuple(
        msgspec.structs.replace(step, observation=_placed(step.observation)) for step in trace.steps
    )
    assert trace.final is not None
    final = msgspec.structs.replace(
        trace.final, observation=_placed(trace.final.observation), fsck="", log=()
    )
    return msgspec.structs.replace(trace, subject="guest", steps=steps, final=final)


def _placed(observation: Observation) -> Observation:
    """With the physical places that a kernel's FIEMAP tells."""

    def told(file: FileObservation) -> FileObservation:
        extents = tuple(
            extent if extent.state is State.DELAYED
            else msgspec.structs.replace(extent, physical=AT + extent.start)
            for extent in file.extents or ()
        )  # fmt: skip
        return msgspec.structs.replace(file, extents=extents)

    files = {name: told(file) for name, file in observation.files.items()}
    return msgspec.structs.replace(observation, files=files)


def _write(disk: Path, at: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _one_byte(disk: Path) -> None:
    data = disk.read_bytes()[AT + 5000]
    _write(disk, AT + 5000, bytes([data ^ 1]))


def _inode(disk: Path, **fields: object) -> None:
    """Change fields of the file's inode; its checksum is right afterwards."""
    with Filesystem.open(disk) as fs:
        inode = fs.inode(FIRST_FILE)
        raw = INODE.pack(*inode.record._replace(**fields)) + inode.raw[INODE.size :]
        at = fs.groups[0].inode_table * fs.volume.block_size
        raw = sealed(fs.volume, FIRST_FILE, raw)
        _write(disk, at + (FIRST_FILE - 1) * fs.volume.inode_size, raw)


def _unwritten(disk: Path) -> None:
    with Filesystem.open(disk) as fs:
        block = bytearray(fs.inode(FIRST_FILE).record.block)
    length = 12 + 4  # of the first extent, behind the header and its logical block
    block[length : length + 2] = (3 + 32768).to_bytes(2, "little")
    _inode(disk, block=bytes(block))


def _xattr(disk: Path) -> None:
    done = tool("debugfs", "-w", "-R", "ea_set /a user.x 1", str(disk))
    assert "ea_set:" not in done.stderr


@pytest.mark.parametrize(
    ("damage", "file", "field"),
    [
        (_one_byte, "/a", "image content"),
        (_unwritten, "/a", "image extents"),
        (_xattr, "/a", "image xattrs.user.x"),
        (lambda disk: _inode(disk, blocks_lo=32), "/a", "image blocks"),
        (lambda disk: _inode(disk, mode=0o100600), "/a", "image mode"),
        (lambda disk: _inode(disk, flags=0x80000 | 0x10), "/a", "image flags"),
    ],
    ids=["byte", "state", "xattr", "i_blocks", "mode", "flags"],
)
def test_an_image_that_is_not_as_expected_is_a_mismatch(judge, damage, file, field) -> None:
    verdict = judge(LINE, damage)
    found: dict[tuple[str | None, str], Mismatch] = {
        (m.file, m.field): m for m in verdict.mismatches
    }
    assert (file, field) in found
    assert found[file, field].place == "final"
    assert found[file, field].expected != found[file, field].actual


def test_the_image_that_the_model_expects_agrees(judge) -> None:
    verdict = judge(LINE)
    assert verdict.mismatches == ()
    assert verdict.outcome is Outcome.AGREE
    assert FORM not in {field for field, _ in verdict.not_compared}


def test_what_the_model_refuses_to_write_is_counted_with_its_reason(judge, monkeypatch) -> None:
    names = "; ".join(f"pwrite {'n' * 80}{number} 0 0" for number in range(12))
    workload = make_workload(names, "1k@delalloc")
    trace = ModelSide().run(workload)
    assert trace.final is not None
    assert trace.final.form is None
    assert "root directory would need another block" in trace.final.unpredicted[FORM]


def test_content_that_the_model_cannot_know_is_counted_and_the_rest_compared() -> None:
    """After a short copy on the iomap path of 7.2, the rest of the folio is stale memory."""
    line = "truncate a 256k; pwritev a 100000 6000,8k:4k,4k tag=2"
    side = ModelSide()
    trace = side.run(
        make_workload(line, "4k@delalloc,buffered_iomap"),
        quirks=frozenset({"stale_folio_after_short_copy"}),
    )
    assert trace.final is not None
    assert trace.final.form is not None
    seen = make_trace(trace.workload, "guest", final=trace.final)
    files = dict(trace.final.form.files)
    files["/a"] = msgspec.structs.replace(files["/a"], content="stale", size=1)
    other = msgspec.structs.replace(trace.final.form, files=files)
    end = msgspec.structs.replace(trace.final, form=other, unpredicted={})
    verdict = compare(seen, msgspec.structs.replace(seen, final=end))
    assert [m.field for m in verdict.mismatches] == ["image size"]
    assert verdict.not_compared["image content", "its bytes are undefined"] == 1


def test_a_model_that_contradicts_itself_is_a_mismatch(judge, monkeypatch) -> None:
    def contradiction(*_: object) -> None:
        raise ImageError("image", "free space", "the model counts 5 free clusters, the image 6")

    monkeypatch.setattr(look, "image_of", contradiction)
    (mismatch,) = judge(LINE).mismatches
    assert mismatch.field == "image"
    assert "model: image: free space: the model counts 5" in str(mismatch.actual)


def test_a_disk_that_holds_no_file_system_is_a_mismatch(judge) -> None:
    verdict = judge(LINE, lambda disk: _write(disk, 1024, bytes(1024)))
    assert [m.field for m in verdict.mismatches] == ["image"]
    assert verdict.not_compared[FORM, "the image cannot be read"] == 1
