"""QEMU's stub for gdb: who can reach it, what gdb is told, which symbols fit."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from harness.commands import shell as command
from vm import gdb_symbols
from vm.apt import Archive, Package
from vm.gdb import Stub
from vm.gdb_symbols import Offer, Symbols, find_symbols, offer
from vm.kernel import Kernel
from vm.qemu import Devices
from vm.shell import TerminalLine, with_devices

DEBIAN = "debian:trixie-backports linux-image-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1"
DBG = "linux-image-7.3.4+deb13-cloud-amd64-dbg"


def kernel(image: Path, source: str = "a file") -> Kernel:
    return Kernel(image, "7.3.4", None, source, "00")


def test_gdb_reaches_the_stub_though_its_socket_has_no_name():
    stub = Stub(None)
    assert stat.S_ISSOCK(Path(stub.address).stat().st_mode)  # so gdb takes it for a socket
    assert "(deleted)" in str(Path(stub.address).readlink())
    with socket.socket(socket.AF_UNIX) as debugger:
        debugger.connect(stub.address)
        stub._listening.settimeout(300)
        qemu, _ = stub._listening.accept()
        qemu.sendall(b"+")
        assert debugger.recv(1) == b"+"
        qemu.close()
    stub.close()


def test_the_line_for_gdb_names_a_file_with_its_commands():
    symbols = Symbols(Path("/k/vmlinux"), {"ext4": Path("/k/ext4.ko"), "jbd2": Path("/k/jbd2.ko")})
    stub = Stub(symbols)
    sections = {"ext4": {".text": 0xFFFFFFFFC0000000, ".data": 0xFFFFFFFFC0100000, ".note": 1}}
    line, commands = stub.line(sections, stop_before=2)
    assert commands == [
        "set pagination off",
        "file /k/vmlinux",
        f"target remote {stub.address}",
        "add-symbol-file /k/ext4.ko 0xffffffffc0000000 -s .data 0xffffffffc0100000",
        "break tracing_mark_write",
        "ignore $bpnum 2",
    ]
    program, option, path = line.split()
    assert (program, option) == ("gdb", "-x")
    assert Path(path).read_text().splitlines() == commands
    stub.close()


def test_without_symbols_gdb_still_knows_the_machine():
    stub = Stub(None, held=True)
    assert stub.line(stop_before=1)[1][1:] == [
        "set architecture i386:x86-64", f"target remote {stub.address}",
    ]  # fmt: skip
    assert stub.devices.held
    stub.close()


def test_devices_add_up():
    line, other = TerminalLine(), Devices(("-gdb", "none"), (77,), held=True)
    both = with_devices(line.devices, other)
    assert both.arguments == (*line.devices.arguments, "-gdb", "none")
    assert both.fds == (*line.devices.fds, 77)
    assert both.held
    line.close()


# --- symbols --------------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch):
    """What is known of files that stand for a vmlinux: build id, and whether it has symbols."""
    known: dict[str, tuple[str, bool]] = {}
    monkeypatch.setattr(gdb_symbols, "_looked_at", lambda path: known.get(str(path), ("", False)))
    return known


def test_a_vmlinux_counts_only_with_symbols_and_the_right_build_id(tmp_path, looked_at):
    image, vmlinux = tmp_path / "bzImage", tmp_path / "vmlinux"
    image.touch()
    assert find_symbols(kernel(image), image) is None
    vmlinux.touch()
    looked_at[str(image)] = ("aa", False)
    looked_at[str(vmlinux)] = ("bb", True)
    assert find_symbols(kernel(image), image) is None
    looked_at[str(vmlinux)] = ("aa", False)
    assert find_symbols(kernel(image), image) is None
    looked_at[str(vmlinux)] = ("aa", True)
    assert find_symbols(kernel(image), image) == Symbols(vmlinux, {})


def test_only_debians_own_kernels_have_a_package_of_symbols(monkeypatch, tmp_path):
    package = Package(DBG, "7.3.4-1~bpo13+1", (), 353387656)

    class FakeArchive(Archive):
        def show(self, names):
            return {DBG: package} if DBG in names else {}

        def update(self):
            raise AssertionError("nothing is fetched if the list is there")

    archive = FakeArchive("http://mirror.example", ("trixie-backports",), ("main",), Path("/k"))
    distribution = type("Distribution", (), {"kernels": (archive,)})()
    monkeypatch.setattr(gdb_symbols, "find_distribution", lambda mirror: distribution)
    found = offer(kernel(tmp_path, DEBIAN))
    assert found is not None
    assert (found.package, found.megabytes) == (package, 353)
    assert offer(kernel(tmp_path, DEBIAN.replace("bpo13+1", "bpo13+2"))) is None
    assert offer(kernel(tmp_path, "/boot/vmlinuz")) is None


@pytest.fixture
def offered(monkeypatch):
    """A kernel with a package of symbols; the list says what was fetched."""
    archive = Archive("http://mirror.example", ("trixie-backports",), ("main",), Path("/k"))
    fetched: list[Offer] = []
    found = Offer(archive, Package(DBG, "1", (), 353387656))
    monkeypatch.setattr(command, "find_symbols", lambda kernel, image: None)
    monkeypatch.setattr(command, "offer", lambda kernel, mirror: found)
    monkeypatch.setattr(command, "fetch", lambda kernel, offer: fetched.append(offer))
    return fetched


CTRL_D = "\x04"


@pytest.mark.parametrize(("answer", "times"), [("y", 1), ("", 0), ("no", 0), (CTRL_D, 0)])
def test_symbols_are_fetched_only_after_a_yes(offered, monkeypatch, capsys, answer, times):
    asked = []

    def answered(text: str) -> str:
        asked.append(text)
        if answer == CTRL_D:
            raise EOFError
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answered)
    options = type("Options", (), {"symbols": False, "mirror": None})()
    command._symbols(kernel(Path("/k")), Path("/k"), options)
    assert "353 MB" in asked[0]
    assert len(offered) == times
    assert ("--symbols" in capsys.readouterr().err) == (not times)


def test_without_a_terminal_nobody_is_asked_and_nothing_is_fetched(offered, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    options = type("Options", (), {"symbols": False, "mirror": None})()
    assert command._symbols(kernel(Path("/k")), Path("/k"), options) is None
    assert not offered
    assert f"{DBG} (353 MB to fetch)" in capsys.readouterr().err
    options.symbols = True
    command._symbols(kernel(Path("/k")), Path("/k"), options)
    assert len(offered) == 1
