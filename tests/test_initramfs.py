"""The archive that the guest starts from, and the choice of what is in it."""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from binaries import make_elf, make_module

from vm import cpio, guest_files, initramfs
from vm.errors import KernelError, MachineryError
from vm.guest_files import Userland, agent_entries
from vm.initramfs import module_entries
from vm.kernel import Kernel
from vm.modules import ModuleTree
from vm.packages import Unpacked


def read_cpio(data: bytes) -> dict[str, tuple[int, bytes, int, int]]:
    """Mode, content and device numbers by name, read as the kernel reads `newc`."""
    found: dict[str, tuple[int, bytes, int, int]] = {}
    offset = 0
    while True:
        assert data[offset : offset + 6] == b"070701"
        text = data[offset + 6 : offset + 110].decode()
        fields = [int(text[at : at + 8], 16) for at in range(0, 104, 8)]
        mode, mtime, size, name_size = fields[1], fields[5], fields[6], fields[11]
        name = data[offset + 110 : offset + 110 + name_size - 1].decode()
        start = (offset + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        assert mtime == fields[2] == fields[3] == 0
        found[name] = (mode, data[start : start + size], fields[9], fields[10])
        offset = (start + size + 3) // 4 * 4


def pack(entries: dict[str, cpio.Entry]) -> bytes:
    out = io.BytesIO()
    cpio.write_cpio(out, entries)
    return out.getvalue()


def test_archive_reads_back() -> None:
    found = read_cpio(
        pack(
            {
                "usr/bin/tool": cpio.file(b"12345", executable=True),
                "bin": cpio.link("usr/bin"),
                "dev/console": cpio.device(5, 1),
                "empty": cpio.file(b""),
            }
        )
    )
    assert list(found) == ["bin", "dev", "dev/console", "empty", "usr", "usr/bin", "usr/bin/tool"]
    assert found["usr/bin/tool"] == (stat.S_IFREG | 0o755, b"12345", 0, 0)
    assert found["bin"] == (stat.S_IFLNK | 0o777, b"usr/bin", 0, 0)
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", 5, 1)
    assert stat.S_ISDIR(found["usr"][0])


def test_equal_entries_give_equal_bytes_in_any_order() -> None:
    entries = {f"f{i}": cpio.file(bytes([i])) for i in range(20)}
    assert pack(entries) == pack(dict(reversed(entries.items())))


def test_modules_go_in_plain_with_their_load_order(tmp_path: Path) -> None:
    modules = {"virtio_blk": "", "failover": "", "virtio_net": "failover", "netconsole": ""}
    for name, depends in modules.items():
        (tmp_path / f"{name}.ko.xz").write_bytes(lzma.compress(make_module(name, depends)))
    builtin = ("ext4", "virtio_pci", "virtio_console", "configfs", "quota_v2")
    (tmp_path / "modules.builtin").write_text("".join(f"k/{name}.ko\n" for name in builtin))
    found = module_entries(ModuleTree(tmp_path))
    assert found["usr/lib/modules/order"].data.decode().splitlines() == [
        "block virtio_blk.ko", "net failover.ko", "net virtio_net.ko", "net netconsole.ko",
    ]  # fmt: skip
    assert found["usr/lib/modules/failover.ko"].data == make_module("failover")


def test_a_kernel_with_everything_built_in_gets_an_empty_load_order() -> None:
    """The agent reads the file whatever the kernel is."""
    assert module_entries(None) == {"usr/lib/modules/order": cpio.file(b"")}


def test_a_kernel_without_virtio_blk_gets_no_initramfs(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("k/ext4.ko\nk/virtio_pci.ko\n")
    with pytest.raises(KernelError, match="virtio_blk"):
        module_entries(ModuleTree(tmp_path))


# --- user space ---------------------------------------------------------------------------


def make_program(*libraries: str) -> bytes:
    """An ELF file that is linked with `libraries`."""
    strings, offsets = b"\0", []
    for name in libraries:
        offsets.append(len(strings))
        strings += name.encode() + b"\0"
    dynamic = b"".join(struct.pack("<qQ", 1, offset) for offset in offsets) + bytes(16)
    return make_elf(_dynamic=dynamic, _dynstr=strings)


@pytest.fixture
def userland(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Userland:
    """A user space whose xfs_io needs liba, which needs libb."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packages = Unpacked("userlands/u", "fake", ("fake=1",))
    files = {
        "usr/bin/python3.99": make_program("libm.so.6"),
        "usr/sbin/xfs_io": make_program("liba.so.1"),
        "usr/sbin/debugfs": make_program(),
        "usr/lib64/ld-linux-x86-64.so.2": make_program(),
        "usr/lib/x86_64-linux-gnu/liba.so.1": make_program("libb.so.2", "ld-linux-x86-64.so.2"),
        "usr/lib/x86_64-linux-gnu/libb.so.2": make_program(),
        "usr/lib/x86_64-linux-gnu/libm.so.6": make_program(),
        "usr/lib/x86_64-linux-gnu/libunused.so.1": make_program(),
        "usr/lib/python3.99/os.py": b"",
        "usr/lib/python3.99/json/tool.py": b"",
        "usr/lib/python3.99/test/test_os.py": b"",
        "usr/lib/python3.99/idlelib/run.py": b"",
        "usr/lib/python3.99/json/__pycache__/tool.pyc": b"",
        "usr/lib/python3.99/lib-dynload/mmap.cpython.so": make_program(),
        "usr/lib/python3.99/lib-dynload/_ssl.cpython.so": make_program("libssl.so.3"),
    }
    for name, data in files.items():
        (packages.path / name).parent.mkdir(parents=True, exist_ok=True)
        (packages.path / name).write_bytes(data)
    busybox = packages.path / "usr/bin/busybox"
    busybox.write_text("#!/bin/sh\necho sh; echo mount\n")
    busybox.chmod(0o755)

    def compile_all(self: Userland, folder: Path, *options: str) -> None:
        for source in folder.rglob("*.py"):
            source.with_suffix(".pyc").write_bytes(b"compiled")

    monkeypatch.setattr(Userland, "compile", compile_all)
    return Userland(packages)


def test_only_what_the_guest_needs_goes_in(userland: Userland) -> None:
    found = userland.entries()
    names = {name.removeprefix("usr/lib/python3.99/") for name in found}
    assert {"os.pyc", "lib-dynload/mmap.cpython.so"} <= names
    assert not any("_ssl" in name or name.endswith(".py") for name in names)
    modules = names_in(found["usr/lib/python399.zip"])
    assert {"os.pyc", "json/tool.pyc"} <= modules
    assert not modules & {"os.py", "test/test_os.pyc", "idlelib/run.pyc"}
    assert not any("__pycache__" in name for name in modules)
    libraries = {Path(name).name for name in found if "x86_64-linux-gnu" in name}
    assert libraries == {"liba.so.1", "libb.so.2", "libm.so.6"}
    assert found["usr/bin/python3"] == cpio.link("python3.99")
    assert found["usr/bin/mount"] == cpio.link("busybox")
    assert "pyroute2/netlink/event/dquot.pyc" in modules


def names_in(archive: cpio.Entry) -> set[str]:
    """What a zip archive of the guest holds."""
    return set(zipfile.ZipFile(io.BytesIO(archive.data)).namelist())


def test_a_root_for_drop_caches_has_few_files(userland: Userland) -> None:
    """drop_caches passes through each; a module is no file of its own, but for the one by which
    Python finds its library."""
    assert [name for name in userland.entries() if name.endswith(".pyc")] == [
        "usr/lib/python3.99/os.pyc"
    ]


def test_a_library_that_no_package_has_is_named(userland: Userland) -> None:
    (userland.root / "usr/lib/x86_64-linux-gnu/libb.so.2").unlink()
    with pytest.raises(MachineryError, match=r"lack the library libb\.so\.2"):
        userland.entries()


def test_the_agent_goes_in_with_its_compiled_code(userland: Userland, tmp_path: Path) -> None:
    agent, scratch = tmp_path / "agent", tmp_path / "scratch"
    (agent / "__pycache__").mkdir(parents=True)
    scratch.mkdir()
    for name in ("init", "main.py", "__pycache__/main.cpython-311.pyc"):
        (agent / name).write_text(name)
    found = agent_entries(userland, agent, scratch)
    assert found["init"] == cpio.file(b"init", executable=True)
    assert set(found) == {"init", "agent.zip"}
    assert names_in(found["agent.zip"]) == {"agent/main.py", "agent/main.pyc"}


def test_an_agent_without_init_is_refused(userland: Userland, tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "scratch").mkdir()
    with pytest.raises(MachineryError, match="has no init"):
        agent_entries(userland, tmp_path / "agent", tmp_path / "scratch")


def test_the_quota_watch_is_all_of_pyroute2_that_goes_in(tmp_path: Path) -> None:
    """Its modules import nothing of pyroute2 that was left out."""
    guest_files._copy_pyroute2(tmp_path / "pyroute2")
    names = {path.relative_to(tmp_path / "pyroute2") for path in tmp_path.rglob("*.py")}
    assert Path("netlink/event/dquot.py") in names
    assert Path("netlink/rtnl/__init__.py") not in names and Path("ndb/main.py") not in names
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pyroute2; "
    code += "print(pyroute2.__file__, pyroute2.DQuotSocket.__name__, 'sqlite3' in sys.modules)"
    watched = {"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}  # what imports sqlite3 itself
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name not in watched},
    )  # fmt: skip
    assert done.stdout.split() == [str(tmp_path / "pyroute2/__init__.py"), "DQuotSocket", "False"]


# --- the whole ----------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel with one module, virtio_blk."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "virtio_blk.ko").write_bytes(make_module("virtio_blk"))
    (modules / "modules.builtin").write_text("k/ext4.ko\nk/virtio_pci.ko\nk/virtio_console.ko\n")
    return Kernel(tmp_path / "bzImage", "7.3.4", modules, "test", "0" * 64)


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/init").write_text("#!/usr/bin/python3\n")
    return tmp_path / "agent"


@pytest.fixture
def build(
    userland: Userland, kernel: Kernel, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Build the initramfs of the kernel and agent above."""
    monkeypatch.setattr(initramfs, "unpacked_userland", lambda mirror, refresh: userland.packages)
    return lambda: initramfs.build_initramfs(kernel, agent)


def test_the_whole_archive(build: Callable[[], Path]) -> None:
    found = read_cpio(build().read_bytes())
    assert found["init"][:2] == (stat.S_IFREG | 0o755, b"#!/usr/bin/python3\n")
    assert found["dev/console"][2:] == (5, 1) and found["dev/null"][2:] == (1, 3)
    assert found["lib"][1] == b"usr/lib"
    assert {"proc", "sys", "tmp", "mnt", "usr/lib/modules/virtio_blk.ko"} <= set(found)


def test_a_kernel_without_modules_gets_the_load_order_too(
    build: Callable[[], Path], kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(kernel, "modules", None)
    assert read_cpio(build().read_bytes())["usr/lib/modules/order"][1] == b""


def test_an_initramfs_is_built_once(
    build: Callable[[], Path], userland: Userland, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build()
    monkeypatch.setattr(Userland, "entries", lambda self: pytest.fail("built twice"))
    assert build() == first


def test_a_changed_module_or_agent_makes_another(
    build: Callable[[], Path], kernel: Kernel, agent: Path
) -> None:
    found = {build()}
    assert kernel.modules is not None
    (kernel.modules / "virtio_blk.ko").write_bytes(make_module("virtio_blk") + b"changed")
    found.add(build())
    (agent / "new.py").touch()
    found.add(build())
    (agent / "__pycache__").mkdir()
    (agent / "__pycache__/new.cpython-311.pyc").touch()
    found.add(build())
    assert len(found) == 3


def test_an_interrupted_build_leaves_nothing(
    build: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cpio, "write_cpio", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build()
    left = [path.name for path in (tmp_path / "cache/ext4diff/initramfs").iterdir()]
    assert all(name.endswith(".lock") for name in left)
