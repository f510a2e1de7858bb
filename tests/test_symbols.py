"""Frames get their source lines from the kernel's symbols, if there are any."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.trace import Complaint, ComplaintKind
from vm.kernel import Kernel
from vm.symbols import Symbols

MAP = """\
ffffffff81000000 T start_kernel
ffffffff81001000 t ext4_foo
ffffffff81002000 d ext4_data
ffffffff81003000 t init_once
ffffffff81004000 t init_once
"""
SOURCE = "int ext4_foo(int x)\n{\n\treturn x + 1;\n}\nint start_kernel(void)\n{\n\treturn 0;\n}\n"


def said(*frames: str) -> Complaint:
    return Complaint(ComplaintKind.WARNING, "WARNING in ext4_foo", (), "ext4_foo", frames)


def fake_addr2line(folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: str) -> Path:
    """An addr2line that gives these answers and keeps the addresses that it was asked for."""
    program = folder / "bin/addr2line"
    program.parent.mkdir()
    lines = "\n".join(f"echo '{answer}'" for answer in answers)
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n{lines}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return folder / "asked"


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    (tmp_path / "System.map").write_text(MAP)
    (tmp_path / "vmlinux").touch()
    return Symbols(tmp_path / "vmlinux", tmp_path / "System.map")


def test_frames_get_lines_from_the_top_of_the_tree(
    symbols: Symbols, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ("/build/init/main.c:900", "/build/fs/ext4/inode.c:373 (discriminator 3)")
    asked = fake_addr2line(tmp_path, monkeypatch, *answers)
    (found,) = symbols.locate([said("ext4_foo+0x12/0x34", "unknown+0x1/0x2", "mod+0x1/0x2 [m]")])
    assert found.frames == (
        "ext4_foo+0x12/0x34 fs/ext4/inode.c:373", "unknown+0x1/0x2", "mod+0x1/0x2 [m]",
    )  # fmt: skip
    assert asked.read_text().split()[2:] == ["0xffffffff81000000", "0xffffffff81001011"]


def test_a_name_that_two_functions_have_gets_no_line(
    symbols: Symbols, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ("/build/init/main.c:900", "/build/fs/ext4/inode.c:373")
    asked = fake_addr2line(tmp_path, monkeypatch, *answers)
    (found,) = symbols.locate([said("init_once+0x1/0x2", "ext4_foo+0x12/0x34")])
    assert found.frames == ("init_once+0x1/0x2", "ext4_foo+0x12/0x34 fs/ext4/inode.c:373")
    assert asked.read_text().split()[2:] == ["0xffffffff81000000", "0xffffffff81001011"]


@pytest.mark.parametrize("answers", [("??:0", "??:?"), ("/x/init/main.c:1",), ()])
def test_without_debugging_information_frames_stay(
    symbols: Symbols, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    fake_addr2line(tmp_path, monkeypatch, *answers)
    complaint = said("ext4_foo+0x12/0x34")
    assert symbols.locate([complaint]) == (complaint,)


def test_the_symbols_are_looked_for_beside_the_image_and_at_the_top_of_a_tree(
    tmp_path: Path,
) -> None:
    boot = tmp_path / "arch/x86/boot"
    boot.mkdir(parents=True)
    kernel = Kernel(boot / "bzImage", "7.3", None, "x", "0")
    assert Symbols.beside(kernel) is None
    (tmp_path / "vmlinux").touch()
    (tmp_path / "System.map").write_text(MAP)
    assert Symbols.beside(kernel) is not None


@pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("addr2line") and shutil.which("nm")),
    reason="needs gcc and binutils",
)
def test_a_real_addr2line_finds_the_line(tmp_path: Path) -> None:
    (tmp_path / "init").mkdir()
    source = tmp_path / "init/main.c"
    source.write_text(SOURCE)
    vmlinux, table = tmp_path / "vmlinux", tmp_path / "System.map"
    flags = ["-g", "-O0", "-nostdlib", "-static", "-no-pie", "-Wl,-e,start_kernel"]
    subprocess.run(["gcc", *flags, "-o", str(vmlinux), str(source)], check=True)
    done = subprocess.run(["nm", str(vmlinux)], check=True, capture_output=True, text=True)
    table.write_text("".join(line + "\n" for line in done.stdout.splitlines() if line[0] != " "))
    (found,) = Symbols(vmlinux, table).locate([said("ext4_foo+0x9/0x10")])
    assert found.frames[0].startswith("ext4_foo+0x9/0x10 init/main.c:")
