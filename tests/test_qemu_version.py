"""QEMU says which one it is; what says nothing of the kind is told with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.errors import QemuError
from vm.qemu import qemu_version


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -9 $$", "--version failed: its status is -9"),
        ("echo no such CPU >&2; exit 1", "--version failed: no such CPU"),
        ("echo hello", "--version failed: its status is 0"),
    ],
)
def test_a_qemu_that_does_not_say_its_version(tmp_path: Path, script: str, said: str) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(QemuError, match=f"{program} {said}"):
        qemu_version(str(program))


def test_a_version_is_read_from_whatever_stands_around_it(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho 'QEMU emulator version 7.2.22 (Debian 1:7.2)'\n")
    program.chmod(0o755)
    assert qemu_version(str(program)) == "7.2.22"
