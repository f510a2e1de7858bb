"""The agent's operations and observers, run here as far as they need no ext4."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.extent import Extent, State
from harness.trace import FileObservation, Observation
from vm.agent import libc
from vm.agent.context import Context, errno_name
from vm.agent.execute import OPERATIONS, execute
from vm.agent.fiemap import COUNT, fiemap
from vm.agent.files import Files
from vm.agent.inode import InodeTable
from vm.agent.observe import listed, observe
from vm.host_tools import find_program
from vm.mkfs import make_image
from vm.seen import extents_of, on_disk, seen_of
from workloads import ops
from workloads.content import pattern
from workloads.images import IMAGES


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    files = Files(str(tmp_path))
    yield Context(files, "/dev/null", lambda: None)
    files.close_all()


def run(context: Context, kind: str, file: str = "a", **fields: Any) -> Any:
    return execute(context, {"op": kind, "file": file, **fields})


def test_every_operation_of_both_tables_is_known() -> None:
    kinds = {cls.__struct_config__.tag for cls in ops.FIRST_TABLE + ops.SECOND_TABLE}
    assert set(OPERATIONS) == kinds


def test_an_unknown_operation_is_not_taken_for_an_errno(context: Context) -> None:
    with pytest.raises(KeyError):
        run(context, "defragment")


def test_write_puts_the_pattern_at_its_place(context: Context, tmp_path: Path) -> None:
    assert run(context, "write", off=5000, len=3000, tag=7) == 3000
    assert (tmp_path / "a").read_bytes() == bytes(5000) + pattern(7, 5000, 3000)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_append_continues_the_pattern_at_the_end(context: Context, tmp_path: Path) -> None:
    run(context, "write", off=0, len=100, tag=1)
    assert run(context, "append", len=50, tag=2) == 50
    assert (tmp_path / "a").read_bytes() == pattern(1, 0, 100) + pattern(2, 100, 50)


@pytest.mark.parametrize(("fault", "done"), [(0, "EFAULT"), (4095, "EFAULT"), (8192, 8192)])
def test_a_write_stops_at_the_unreadable_pages(context: Context, fault: int, done: object) -> None:
    assert run(context, "write_fault", off=0, len=20000, fault=fault, tag=1) == done


def test_a_vector_stops_in_the_segment_that_faults(context: Context, tmp_path: Path) -> None:
    segs = [[4096, None], [8192, 4096], [4096, None]]
    assert run(context, "pwritev", off=0, segs=segs, tag=3) == 8192
    assert (tmp_path / "a").read_bytes()[:8192] == pattern(3, 0, 8192)
    assert run(context, "pwritev", "b", off=0, segs=[[10, 0]], tag=3) == "EFAULT"


def test_read_returns_the_md5_of_what_came_back(context: Context) -> None:
    run(context, "write", off=0, len=100, tag=1)
    expected = hashlib.md5(pattern(1, 0, 100)[10:]).hexdigest()
    assert run(context, "read", off=10, len=1000) == expected


def test_a_store_lands_in_the_file_and_never_passes_its_end(
    context: Context, tmp_path: Path
) -> None:
    run(context, "truncate", size=10000)
    assert run(context, "mmap_write", off=4000, len=5000, tag=2) == 5000
    assert run(context, "mmap_write", off=9000, len=1001, tag=2) == "SKIP"
    assert (tmp_path / "a").read_bytes() == bytes(4000) + pattern(2, 4000, 5000) + bytes(1000)
    assert run(context, "msync_write", off=0, len=3, tag=9) == 3
    assert (tmp_path / "a").read_bytes()[:3] == pattern(9, 0, 3)


def test_mmap_in_is_cut_to_the_size(context: Context) -> None:
    assert run(context, "mmap_in", p=0.5, len=100, tag=1) == 0
    run(context, "truncate", size=1000)
    assert run(context, "mmap_in", p=0.95, len=100, tag=1) == 50


def test_copies_between_files(context: Context, tmp_path: Path) -> None:
    run(context, "write", off=0, len=200000, tag=1)
    whole = pattern(1, 0, 200000)
    for kind in ("copy_range", "sendfile", "splice"):
        assert run(context, kind, off=5000, len=150000, to=kind, dst=3) == 150000
        assert (tmp_path / kind).read_bytes() == bytes(3) + whole[5000:155000]


def test_a_write_is_cut_by_the_size_limit_and_the_limit_is_gone_afterwards(
    context: Context,
) -> None:
    assert run(context, "rlimit_write", limit=10000, off=0, len=65536, tag=1) == 10000
    assert run(context, "rlimit_write", limit=10000, off=10000, len=5, tag=1) == "EFBIG"
    assert run(context, "write", off=0, len=65536, tag=1) == 65536


def test_descriptors_stay_open_until_closed(context: Context) -> None:
    run(context, "write", off=0, len=10, tag=1)
    run(context, "sync_write", off=0, len=10, tag=1)
    run(context, "dsync_write", off=0, len=10, tag=1)
    fd = context.files.opened("a")
    assert fd == context.files.main("a")
    before = _descriptors()
    assert run(context, "close") == 0
    assert _descriptors() == before - 3
    assert context.files.opened("a") is None


def test_names_are_removed_and_moved(context: Context, tmp_path: Path) -> None:
    assert run(context, "unlink") == "ENOENT"
    assert run(context, "otrunc") == "ENOENT"
    assert run(context, "rename", to="b") == "ENOENT"
    run(context, "write", off=0, len=10, tag=1)
    assert run(context, "rename", to="b") == 0
    assert listed(str(tmp_path)) == [((tmp_path / "b").stat().st_ino, "b")]
    assert run(context, "otrunc", "b") == 0
    assert (tmp_path / "b").stat().st_size == 0
    assert run(context, "unlink", "b") == 0
    assert not list(tmp_path.iterdir())


def test_a_failed_open_leaves_no_descriptor_behind(context: Context, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert run(context, "write", "d", off=0, len=1, tag=1) == "EISDIR"
    assert context.files.opened("d") is None


def test_one_errno_has_one_name() -> None:
    assert errno_name(OSError(95, "")) == "ENOTSUP"
    assert errno_name(OSError(11, "")) == "EAGAIN"
    assert errno_name(OSError(4711, "")) == "E4711"


def test_forbidden_pages_start_on_a_page(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    with libc.Buffer(3 * 4096) as buffer:
        buffer.store(b"x" * (3 * 4096))
        buffer.forbid(8000)
        assert libc.pwrite_at(fd, buffer.address, 4096, 0) == 4096
        with pytest.raises(OSError, match="Bad address"):
            libc.pwrite_at(fd, buffer.address + 4096, 1, 0)
    os.close(fd)


def test_a_buffer_that_was_forbidden_is_whole_for_the_next_one() -> None:
    with libc.Buffer(12288) as first:
        first.store(b"x" * 12288)
        first.forbid(4096)
    with libc.Buffer(1 << 21) as again, libc.Buffer(8192) as other:
        assert again.address == first.address != other.address
        again.store(memoryview(b"y" * (1 << 21)))
        other.store(b"z" * 8192)
    with libc.Buffer((1 << 21) + 1) as large:
        assert large.address not in (again.address, other.address)
        large.store(memoryview(b"l" * ((1 << 21) + 1)))


# --- observers ------------------------------------------------------------------------


Told = tuple[int, int, int, int]
"""Logical and physical byte, length, flags."""


def _raw(extents: list[Told]) -> bytes:
    return b"".join(struct.pack("=QQQQQLLLL", *row[:3], 0, 0, row[3], 0, 0, 0) for row in extents)


def test_extents_have_a_state_and_a_place_if_they_have_one() -> None:
    told = [
        (0, 8425472, 4096, 0),
        (4096, 0, 8192, 6),
        (65536, 99, 4096, 0x801),
        (0, 77, 100, 0x200),
    ]
    assert extents_of(_raw(told)) == (
        Extent(0, 4096, State.WRITTEN, 8425472),
        Extent(4096, 8192, State.DELAYED),
        Extent(65536, 4096, State.UNWRITTEN, 99),
        Extent(0, 100, State.INLINE),
    )
    assert extents_of(b"") == ()
    with pytest.raises(ValueError):
        extents_of(b"0")


def _inode(size: int, sectors: int, flags: int) -> bytes:
    """The old part of an inode."""
    raw = bytearray(128)
    struct.pack_into("<I20xII", raw, 4, size & 0xFFFFFFFF, sectors & 0xFFFFFFFF, flags)
    struct.pack_into("<I4xH", raw, 0x6C, size >> 32, sectors >> 32)
    return bytes(raw)


class _Table:
    """Inodes that all say the same of themselves."""

    block_size, cluster_size = 1024, 8192

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def read(self, _number: int) -> bytes:
        return self._raw


HUGE, INLINE = 0x40000, 0x10000000


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (_inode(7, 0, 0), (0, 7, 3)),
        (_inode(5 << 32 | 7, 2 << 32, 0), (2 << 32, 5 << 32 | 7, 3 - (2 << 28))),
        (_inode(7, 8, HUGE), (16, 7, 2)),
        (_inode(7, (1 << 48) - 8, HUGE), ((1 << 49) - 16, 7, 4)),  # i_blocks is -16
        (_inode(7, 0, INLINE), (0, 7, 2)),  # an inline file's bytes are in st_blocks, too
    ],
)
def test_sectors_and_size_on_disk_and_what_is_reserved(
    raw: bytes, seen: tuple[int, int, int]
) -> None:
    assert on_disk(raw, 48, 1024, 8192, size=4096) == seen


def test_what_the_agent_tells_of_files_is_what_it_saw(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file that is open, and one that is not, whose extents can't be had."""

    def ioctl(fd: int, _number: int, buffer: bytearray) -> None:
        if fd != context.files.opened("b"):
            raise OSError(5, "")
        struct.pack_into("=L", buffer, 20, 1)
        buffer[32 : 32 + 56] = _raw([(0, 0, 4096, 7)])

    monkeypatch.setattr("vm.agent.fiemap.fcntl.ioctl", ioctl)
    run(context, "write", "b", off=0, len=10000, tag=1)
    (tmp_path / "\udcff").write_bytes(b"xy")
    (tmp_path / "lost+found").mkdir()
    delalloc = os.open(tmp_path.parent / "delalloc", os.O_RDWR | os.O_CREAT)
    os.write(delalloc, b"17\n")
    row = observe(context.files, _Table(_inode(9, 8, 0)), delalloc)  # type: ignore[arg-type]
    os.close(delalloc)
    stats = {path.name: path.stat() for path in tmp_path.iterdir() if path.is_file()}
    space = os.statvfs(tmp_path)
    found = seen_of(row, b"".join(row["raw"]))
    assert found.names == {stat.st_ino: name for name, stat in stats.items()}
    blocks = {name: stat.st_blocks for name, stat in stats.items()}
    reserved = {name: (count - 8) * 512 // 8192 for name, count in blocks.items()}
    extents = (Extent(0, 4096, State.DELAYED),)
    files = {
        "b": FileObservation(10000, blocks["b"], 8, 9, reserved["b"], extents),
        "\udcff": FileObservation(2, blocks["\udcff"], 8, 9, reserved["\udcff"], None, "EIO"),
    }
    expected = Observation(files, 17, space.f_bfree, space.f_bavail)
    seen = found.observation
    assert msgspec.structs.replace(seen, bfree=expected.bfree, bavail=expected.bavail) == expected
    assert list(seen.files) == ["b", "\udcff"]


def test_st_blocks_below_0_are_told_as_the_kernel_says_them(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a file whose last cluster was not counted and is freed (finding 5)."""
    (tmp_path / "a").touch()
    below = os.stat_result((tmp_path / "a").stat(), {"st_blocks": -16})
    monkeypatch.setattr("vm.agent.observe.os.stat", lambda *_args, **_options: below)
    monkeypatch.setattr("vm.agent.observe.fiemap", lambda _fd: b"")
    delalloc = os.open(tmp_path.parent / "delalloc", os.O_RDWR | os.O_CREAT)
    os.write(delalloc, b"0")
    row = observe(context.files, _Table(bytes(128)), delalloc)  # type: ignore[arg-type]
    os.close(delalloc)
    assert seen_of(row, b"".join(row["raw"])).observation.files["a"].blocks == -16


def test_what_can_not_be_observed_is_told_by_its_error(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statvfs(_path: str) -> None:
        raise OSError(117, "")

    monkeypatch.setattr("vm.agent.observe.os.statvfs", statvfs)
    row = observe(context.files, _Table(b""), -1)  # type: ignore[arg-type]
    told = {**row, "names": [[12, "a"]]}
    assert seen_of(told, b"") == (Observation(error="EUCLEAN"), {12: "a"})


@pytest.mark.parametrize("cut", [1, 20, 100, 200])
def test_an_observation_that_is_cut_or_goes_on_is_refused(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr("vm.agent.observe.fiemap", lambda _fd: b"")
    (tmp_path / "a").touch()
    delalloc = os.open(tmp_path.parent / "delalloc", os.O_RDWR | os.O_CREAT)
    os.write(delalloc, b"0")
    row = observe(context.files, _Table(bytes(128)), delalloc)  # type: ignore[arg-type]
    os.close(delalloc)
    data = b"".join(row["raw"])
    assert seen_of(row, data).observation.files["a"].size == 0
    for wrong in (data[:-cut], data + bytes(cut)):
        with pytest.raises(ValueError):
            seen_of(row, wrong)


@pytest.mark.parametrize("count", [0, 1, COUNT, COUNT + 1, 2 * COUNT])
@pytest.mark.parametrize("last", [0, 1])
def test_all_extents_are_asked_for(monkeypatch: pytest.MonkeyPatch, count: int, last: int) -> None:
    """As many as the kernel gives at once, then from there, until it says that it was the last,
    which it need not say."""
    extents = [(n * 8192, n * 4096, 4096, last * (n == count - 1)) for n in range(count)]

    def ioctl(_fd: int, _number: int, buffer: bytearray) -> None:
        start, length, _, _, room, _ = struct.unpack_from("=QQLLLL", buffer)
        assert start + length == 2**64 - 1
        found = [extent for extent in extents if extent[0] + extent[2] > start][:room]
        struct.pack_into("=L", buffer, 20, len(found))
        buffer[32 : 32 + 56 * len(found)] = _raw(found)

    monkeypatch.setattr("vm.agent.fiemap.fcntl.ioctl", ioctl)
    assert fiemap(3) == _raw(extents)


@pytest.mark.parametrize("name", ["4k", "1k", "1kbigalloc8k", "ext3ish"])
def test_raw_inodes_are_found_where_debugfs_finds_them(tmp_path: Path, name: str) -> None:
    image, source = tmp_path / "image", tmp_path / "source"
    source.write_bytes(b"z" * 50000)
    make_image(IMAGES[name], image)
    request = f"write {source} a\nmkdir d\nwrite {source} d/b\n"
    debugfs = [find_program("debugfs"), "-w", "-f", "-", str(image)]
    subprocess.run(debugfs, check=True, capture_output=True, input=request.encode())
    table = InodeTable(str(image))
    for name in ("a", "d/b"):
        stat = [find_program("debugfs"), "-R", f"stat /{name}", str(image)]
        said = subprocess.run(stat, check=True, capture_output=True, text=True).stdout
        number = int(said.split("Inode:")[1].split()[0])
        sectors = int(said.split("Blockcount:")[1].split()[0])
        for again in (table.read(number), table.read(number)):
            assert on_disk(again, sectors, 4096, 4096, size=50000) == (sectors, 50000, 0)
    table.close()


def test_a_device_without_ext4_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    with pytest.raises(ValueError, match="no ext4"):
        InodeTable(str(tmp_path / "image"))
