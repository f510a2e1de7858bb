"""Starting from an image file: what the commands take, and what they refuse and how."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import FakeSubject, make_trace, make_workload

from harness.artifacts.archive import ArtifactError
from harness.artifacts.artifact import keep, program_of
from harness.artifacts.expected_image import expected_of
from harness.artifacts.read import open_artifact
from harness.cli import main
from harness.comparison.compare import compare
from harness.errors import AGREE, MACHINERY, USAGE, NotModelledError, UsageError
from harness.image.canonical import canonical
from harness.pairs import Pair
from harness.sides.model_side import ModelSide
from harness.sides.side import Choice, Side
from harness.start import require_modelled, start_from
from harness.trace import Trace, decode, encode
from harness.verdict import Compared
from model.image.checksum import ONES, chain
from model.image.filesystem import Filesystem
from vm import mkfs
from vm.host_tools import ensure_host_tools, find_program
from workloads.images import DEVICE_SIZE, IMAGES, Image
from workloads.program import config_of
from workloads.syntax import WorkloadSyntaxError, format_program, parse
from workloads.workload import Config, Workload

FIRST = "pwrite a 0 10000; falloc_keep a 65536 32768; pwrite b 70000 5000; setflags b 32"


def _no_guest(*_: object) -> None:
    raise AssertionError("a guest would be started")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of our own, so that other runs do not prune the images."""
    ensure_host_tools(["mke2fs", "e2fsck", "debugfs"])
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    patch.setattr("harness.commands.run.make_pair", _no_guest)
    yield
    patch.undo()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An image that the model wrote, with two files; not to be changed."""
    folder = tmp_path_factory.mktemp("start")
    source = folder / "first.ops"
    source.write_text(f"on: small4k@delalloc\n\n{FIRST}\n")
    target = folder / "start.img"
    assert main(["image", "expected", str(source), str(target)]) == AGREE
    os.truncate(target, IMAGES["small4k"].size)  # what lies behind belongs to nobody
    yield target
    shutil.rmtree(folder)


@pytest.fixture
def copy(started: Path, tmp_path: Path) -> Iterator[Path]:
    """One that may be changed."""
    path = tmp_path / "copy.img"
    shutil.copyfile(started, path)
    yield path
    path.unlink(missing_ok=True)


def debugfs(path: Path, *commands: str) -> None:
    text = "".join(f"{command}\n" for command in commands)
    subprocess.run(
        [find_program("debugfs"), "-w", "-f", "-", str(path)],
        input=text, text=True, capture_output=True, check=True,
    )  # fmt: skip


def edited(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def on(path: Path, line: str, mount: str = "delalloc") -> Workload:
    """The workload of a line of operations that starts from the image `path`."""
    workload = make_workload(line)
    return msgspec.structs.replace(workload, config=Config(start_from(path), mount))


# --- what it is -------------------------------------------------------------------------


def test_an_image_is_known_by_the_digest_of_its_bytes_packed_or_not(started, tmp_path):
    image = start_from(started)
    digest = hashlib.sha256(started.read_bytes()).hexdigest()
    assert (image.sha256, image.name) == (digest, f"from-{digest[:12]}")
    packed = tmp_path / "whatever"
    packed.write_bytes(gzip.compress(started.read_bytes(), 1))
    assert start_from(packed) == image
    assert mkfs.image_file(image).read_bytes() == started.read_bytes()


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_its_description_says_what_that_of_a_fresh_image_says(name):
    made = IMAGES[name]
    image = start_from(mkfs.image_file(made))
    assert (image.size, image.block_size, image.cluster_size) == (
        made.size, made.block_size, made.cluster_size,
    )  # fmt: skip
    asked = {"^has_journal", "^extents", "^metadata_csum", "^64bit", "^resize_inode", "quota",
             "inline_data", "bigalloc"}  # fmt: skip
    assert image.features & asked == made.features & asked
    require_modelled(image, name)


def test_the_trace_says_what_it_started_from(started):
    workload = on(started, "append a 1")
    trace = ModelSide().run(workload)
    assert decode(encode(trace)).workload == workload
    assert set(trace.start.files) == {"a", "b"}
    assert trace.start.files["a"].size == 10000
    assert trace.steps[0].observation.files["a"].size == 10001
    assert trace.final is not None and trace.final.form is not None
    assert trace.final.form.files["/b"].flags == "0x80020"


def test_a_program_on_it_round_trips_with_it_and_not_without(started):
    program = program_of(on(started, "append a 1", "nodelalloc"))
    text = format_program(program)
    assert "on: from-" in text
    assert parse(text, program.name, kept=program.kept) == program
    assert program.configs[0].image == program.kept
    with pytest.raises(WorkloadSyntaxError, match=r"ext4diff run --from IMAGE"):
        parse(text, program.name)
    other = Image("from-000000000000", 1, ("-b", "4096"), "0" * 64)
    with pytest.raises(WorkloadSyntaxError, match=r'but the image given is "from-000000000000"'):
        parse(text, program.name, kept=other)


def test_a_mismatch_keeps_the_start_and_repeats_from_it(started, tmp_path):
    workload = on(started, "append a 1")
    model, other = ModelSide(), Side()
    expected, other.name = model.run(workload), "guest"
    actual: Trace = make_trace(workload, "kernel", "7.3.4")
    compared = Compared(compare(expected, actual), expected, actual)
    folder = tmp_path / "kept"
    keep(compared, Pair(model, other), folder, "why")
    text = (folder / "README.txt").read_text()
    assert '"ext4diff run --from start.img.gz workload.ops" runs it again' in text
    assert "start.img.gz is the image that the workload started from." in text
    image = start_from(folder / "start.img.gz")
    assert image == workload.config.image
    again = expected_of(folder)
    assert again.workload == workload
    out = tmp_path / "out.img"
    again.write(out)
    assert mkfs.fsck(out) == ""
    with Filesystem.open(out) as fs:
        assert canonical(fs).files["/a"].size == 10001
    out.unlink()
    with pytest.raises(UsageError, match=r"started from from-.*, the image given is from-"):
        expected_of(folder, start=mkfs.image_file(config_of("4k@delalloc").image))


def test_an_artifact_brings_its_start_and_only_that(started, tmp_path):
    workload = on(started, "append a 1")
    trace = make_trace(workload)
    folder = tmp_path / "kept"
    pair = Pair(ModelSide(), FakeSubject("guest", []), "model", Choice())
    keep(Compared(compare(trace, trace), trace, trace), pair, folder, "why")
    image = folder / "start.img.gz"
    with open_artifact(folder) as artifact:
        artifact.provide_start()
        given = mkfs.image_file(config_of("4k@delalloc").image).read_bytes()
        image.write_bytes(gzip.compress(given, 1))
        with pytest.raises(ArtifactError, match=r"is not the image that the workload started from"):
            artifact.provide_start()
        image.unlink()
        with pytest.raises(ArtifactError, match=r"is incomplete: start\.img\.gz is missing"):
            artifact.provide_start()


def test_the_expected_image_of_a_workload_that_starts_from_one(started, tmp_path, capsys):
    source, out = tmp_path / "second.ops", tmp_path / "out.img"
    source.write_text("on: 1k@nodelalloc\n\nappend b 5\nunlink a\n")
    words = ["image", "expected", "--from", str(started), str(source), str(out)]
    assert main(words) == AGREE
    assert "second@from-" in capsys.readouterr().out
    assert main(["image", "check", str(out)]) == AGREE
    assert mkfs.fsck(out) == ""
    with Filesystem.open(out) as fs:
        assert set(canonical(fs).files) == {"/", "/lost+found", "/b"}
    out.unlink()
    assert main([*words, "--on", "1k@nodelalloc"]) == USAGE
    assert "write only the mount options: --on @nodelalloc" in capsys.readouterr().err


# --- what it can't be -------------------------------------------------------------------


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `run --from` says of it, before any guest is started."""
    assert main(["run", "--from", str(path), "append a 1"]) == USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert not list((mkfs.cache.cache_root() / "starts").glob(".*.new"))
    return said.err


def test_no_image_is_refused(tmp_path, capsys):
    path = tmp_path / "file"
    assert "cannot be read: No such file" in refused(path, capsys)
    path.write_bytes(b"")
    assert "the file ends inside it: 0 bytes" in refused(path, capsys)
    path.write_bytes(bytes(100_000))
    assert "holds no ext4 file system" in refused(path, capsys)
    assert "it is no regular file" in refused(tmp_path, capsys)
    path.unlink()
    os.mkfifo(path)
    assert "is no regular file" in refused(path, capsys)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/fd/0", "/dev/mem"])
def test_devices_are_refused(capsys, path):
    assert "regular file" in refused(Path(path), capsys)


def test_damaged_archives_are_refused(tmp_path, capsys):
    path = tmp_path / "x.img.gz"
    whole = gzip.compress(bytes(range(256)) * 4000, 1)
    for data in (whole[:-200], whole[:20] + b"\xff\xff\xff" + whole[23:], b"\x1f\x8bnonsense"):
        path.write_bytes(data)
        assert "damaged gzip file" in refused(path, capsys)


def test_an_image_larger_than_the_device_is_refused_and_not_read_whole(tmp_path, capsys):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than the guest's device" in refused(path, capsys)
    path.unlink()
    with gzip.open(path, "wb", compresslevel=1) as packed:
        for _ in range(DEVICE_SIZE // (1 << 20) + 1):
            packed.write(bytes(1 << 20))
    assert "larger than the guest's device" in refused(path, capsys)


def test_a_cut_image_is_refused(copy, capsys):
    os.truncate(copy, 9 << 20)
    assert "do not fit the file's" in refused(copy, capsys)


def test_a_damaged_structure_is_named(copy, capsys):
    with Filesystem.open(copy) as fs:
        at = fs.inodes.offset(12)
    edited(copy, at + 4, b"\x99")
    assert "inode 12" in refused(copy, capsys)


def test_what_only_the_check_finds_is_refused(copy, capsys):
    debugfs(copy, "set_inode_field a block[0] 0", "set_super_value free_blocks_count 17")
    said = refused(copy, capsys)
    assert str(copy) in said


def test_what_e2fsck_alone_finds_is_refused(copy, capsys, monkeypatch):
    edited(copy, 15 << 20, b"another image")
    monkeypatch.setattr(mkfs, "fsck", lambda path: f"{path}: it is odd\nand more")
    said = refused(copy, capsys)
    assert f"e2fsck complains, nothing can start from it: {copy}: it is odd; and more" in said


def test_a_journal_that_needs_recovery_is_refused(copy, capsys):
    debugfs(copy, "feature needs_recovery")
    assert "mount and unmount the image, or let e2fsck -fp replay it" in refused(copy, capsys)


def test_unknown_features_are_refused(copy, capsys):
    raw = bytearray(copy.read_bytes()[1024:2048])
    raw[0x63] |= 1 << 6
    edited(copy, 1024, raw[:-4] + struct.pack("<I", chain(ONES, bytes(raw[:-4]))))
    assert "incompat_0x40000000" in refused(copy, capsys)


def test_a_configuration_that_names_another_image_is_refused(started, capsys):
    words = ["run", "--from", str(started), "append a 1", "--on", "1k@delalloc"]
    assert main(words) == USAGE
    assert "write only the mount options: --on @delalloc" in capsys.readouterr().err


def test_an_image_that_is_gone_from_the_cache_is_asked_for(started):
    workload = on(started, "append a 1")
    gone = msgspec.structs.replace(workload.config.image, sha256="7" * 64)
    with pytest.raises(UsageError, match="is not here: give its file with --from"):
        ModelSide().run(msgspec.structs.replace(workload, config=Config(gone)))


# --- what the model has no notion of ----------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        (["mkdir sub"], r"a subdirectory \(sub\)"),
        (["symlink link a"], r"a symbolic link \(link\)"),
        (["mknod pipe p"], r"a special file \(pipe\)"),
        (["ea_set a user.x y"], r"an extended attribute \(user.x of a\)"),
        (["ln a c", "set_inode_field a links_count 2"], r"a file of 2 names \(a\)"),
        (["set_inode_field a mode 0104755"], r"the mode 4755 \(a\)"),
        (["set_inode_field a flags 0x80080"], r"the flags 0x80 \(a\)"),
        (["set_super_value default_mount_opts 0x80c"], "mount options in its superblock"),
        (["feature ea_inode"], "the feature ea_inode"),
        (['write /dev/null "two words"'], "a name that no operation can say"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(copy, capsys, commands, why):
    debugfs(copy, *commands)
    command = [find_program("e2fsck"), "-fy", str(copy)]
    assert subprocess.run(command, capture_output=True, check=False).returncode in (0, 1)
    image = start_from(copy)
    with pytest.raises(NotModelledError, match=f"x.img: an image with {why}"):
        require_modelled(image, "x.img")
    for more in ([], ["--against", "path:iomap"]):
        assert main(["run", "--from", str(copy), "append a 1", *more]) == MACHINERY
        said = capsys.readouterr()
        assert said.err.startswith(f"ext4diff: {copy}: an image with ")
        assert said.out == ""


def test_owners_and_permissions_are_taken_over(copy, tmp_path):
    debugfs(copy, "set_inode_field a mode 0100600", "set_inode_field a gid 70001",
            "set_inode_field a uid 9", "set_inode_field b gid 3")  # fmt: skip
    trace = ModelSide().run(on(copy, "append a 1"))
    assert trace.final is not None and trace.final.form is not None
    files = trace.final.form.files
    assert (files["/a"].mode, files["/a"].uid, files["/a"].gid) == ("0600", 9, 70001)
    assert (files["/b"].mode, files["/b"].uid, files["/b"].gid) == ("0644", 0, 3)
