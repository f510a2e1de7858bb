"""Archives of artifacts: what comes from elsewhere writes nowhere else, and fills no disk."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from harness.artifacts import archive
from harness.artifacts.archive import ArtifactError, pack, unpacked
from harness.errors import MachineryError
from vm.zstd import zstd


def make(path: Path, members: Iterable[tarfile.TarInfo], data: bytes = b"data") -> Path:
    packed = zstd.ZstdFile(path, "w", options=archive.OPTIONS)
    with packed, tarfile.open(fileobj=packed, mode="w") as out:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            out.addfile(member, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob("ext4diff-*"))


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def test_what_is_packed_comes_back_and_goes_again(tmp_path):
    folder = tmp_path / "one@4k"
    folder.mkdir()
    (folder / "a.json").write_bytes(b"{}" * 3000)
    (folder / "big").write_bytes(bytes(3 << 20))
    (folder / "below").mkdir()  # nothing of an artifact
    (folder / "link").symlink_to("/etc/passwd")
    target = tmp_path / "one.tar.zst"
    pack(folder, target)
    assert target.stat().st_size < 3000
    with unpacked(target) as directory:
        assert directory.name == "one@4k"
        assert {path.name for path in directory.iterdir()} == {"a.json", "big"}
        assert (directory / "big").read_bytes() == bytes(3 << 20)
    assert not leftovers(tmp_path / "tmp")


def test_the_archive_is_one_that_tar_reads_and_names_nobody(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_bytes(b"a")
    pack(tmp_path / "one", tmp_path / "one.tar.zst")
    with zstd.ZstdFile(tmp_path / "one.tar.zst") as plain, tarfile.open(fileobj=plain) as read:
        (found,) = read.getmembers()
    assert (found.name, found.uid, found.uname, found.gname) == ("one/a", 0, "", "")


def test_a_full_disk_leaves_no_half_archive(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_bytes(b"a")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "add", full)
    with pytest.raises(OSError, match="No space left"):
        pack(tmp_path / "one", tmp_path / "one.tar.zst")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "tmp"}


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("/etc/outside")],
        [member("one/../../outside")],
        [member("one/a/b")],
        [member("..")],
        [member("alone")],
        [member("one/.."), member("one/a")],
        [member("one/link", tarfile.SYMTYPE, "/etc")],
        [member("one/link", tarfile.SYMTYPE, "../.."), member("one/link/a")],
        [member("one", tarfile.SYMTYPE, "/tmp"), member("one/a")],
        [member("one/link", tarfile.LNKTYPE, "../../outside")],
        [member("one/null", tarfile.CHRTYPE)],
        [member("one/sda", tarfile.BLKTYPE)],
        [member("one/pipe", tarfile.FIFOTYPE)],
        [member("one/a"), member("other/a")],
        [member("one/a"), member("one/a")],
        [member("one/sub/", tarfile.DIRTYPE)],
        [member("one/" + "x" * 300)],
    ],
    ids=lambda members: "+".join(m.name[:20] for m in members),
)
def test_members_that_are_no_plain_files_of_one_directory_are_refused(tmp_path, members):
    path = make(tmp_path / "bad.tar.zst", members)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError, match=r"bad\.tar\.zst is no artifact"), unpacked(path):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/etc/outside").exists()


def test_sparse_members_are_refused(tmp_path):
    sparse = member("one/huge", tarfile.GNUTYPE_SPARSE)
    path = make(tmp_path / "bad.tar.zst", [sparse])
    with pytest.raises(ArtifactError), unpacked(path):
        pass


def test_modes_and_set_user_bits_are_not_taken_over(tmp_path):
    info = member("one/a")
    info.mode, info.uid = 0o6777, 12345
    with unpacked(make(tmp_path / "one.tar.zst", [info])) as directory:
        status = (directory / "a").stat()
    assert not status.st_mode & 0o7111
    assert status.st_uid == os.getuid()


def test_a_bomb_ends_at_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 4 << 20)
    path = make(tmp_path / "bomb.tar.zst", [member("one/a"), member("one/b")], bytes(3 << 20))
    with pytest.raises(ArtifactError, match="more than 200 files or 4 MiB"), unpacked(path):
        pass
    plain = tmp_path / "zeroes.tar.zst"  # no tar in it: an end that never comes
    plain.write_bytes(zstd.compress(bytes(16 << 20)))
    with pytest.raises(ArtifactError), unpacked(plain):
        pass
    assert not leftovers(tmp_path / "tmp")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_FILES", 5)
    path = make(tmp_path / "many.tar.zst", [member(f"one/{n}") for n in range(6)])
    with pytest.raises(ArtifactError, match="more than 5 files"), unpacked(path):
        pass


def test_a_header_without_end_is_not_read_into_memory(tmp_path):
    long = tarfile.TarInfo("././@PaxHeader")
    long.type = tarfile.XHDTYPE
    long.size = 64 << 20
    path = tmp_path / "header.tar.zst"
    with zstd.ZstdFile(path, "w") as packed:
        packed.write(long.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            packed.write(bytes(1 << 20))
    with pytest.raises(ArtifactError, match="a header in it is longer"), unpacked(path):
        pass


def whole(tmp_path: Path) -> bytes:
    data = os.urandom(200_000)
    return make(tmp_path / "good.tar.zst", [member("one/a"), member("one/b")], data).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:10],
        lambda data: data[:5000] + b"\xff" * 100 + data[5100:],
        lambda data: data[:1000] + data[2000:],
        lambda data: zstd.compress(b"no tar at all" * 100),
    ],
    ids=["half", "last byte", "head only", "changed", "hole", "no tar"],
)
def test_a_damaged_archive_is_told_and_nothing_is_left(tmp_path, damage: Callable[[bytes], bytes]):
    path = tmp_path / "bad.tar.zst"
    path.write_bytes(damage(whole(tmp_path)))
    with pytest.raises(ArtifactError, match=r"damaged or cut short.*get it again"), unpacked(path):
        pass
    assert not leftovers(tmp_path / "tmp")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "neither a directory nor"), (b"PK\3\4zip", "neither a directory nor")],
)
def test_what_is_no_zstd_file_is_no_artifact(tmp_path, data, said):
    path = tmp_path / "other.tar.zst"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=said), unpacked(path):
        pass


def test_an_empty_archive_and_one_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match="holds no file"), unpacked(make(tmp_path / "e", [])):
        pass
    with pytest.raises(ArtifactError, match="No such file"), unpacked(tmp_path / "no.tar.zst"):
        pass


def test_no_room_to_unpack_is_the_machines_fault(tmp_path, monkeypatch):
    path = make(tmp_path / "one.tar.zst", [member("one/a")])

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(MachineryError, match="TMPDIR"), unpacked(path):
        pass
    assert not leftovers(tmp_path / "tmp")
