"""What a guest leaves for who looks into a mismatch: disk, log, configuration, command line."""

from __future__ import annotations

import gzip
import shlex
import shutil
from pathlib import Path

from vm.guest import Guest
from vm.identity import config_file
from vm.kernel import Kernel

__all__ = ["keep_evidence"]

_ABOUT_QEMU = """\
# QEMU as it ran. The descriptors (fd=N, /proc/self/fd/N) were those of ext4diff: connections
# to the monitor, the console and the agent, and memory for the console's log. The disk is
# {name}.img.gz beside this file, as the workload left it. To have such a guest again:
# ext4diff replay, or ext4diff shell, with the directory that this file is in.
"""


def keep_evidence(directory: Path, name: str, guest: Guest, kernel: Kernel, report: str) -> None:
    """Write into `directory`, as files whose names begin with `name`: the disk's image (gzip),
    the console's and netconsole's text, a panic's `report`, the kernel's configuration if it
    is known, QEMU's command line. Raises `OSError` if the disk is full.
    """
    image = directory / f"{name}.img.gz"
    with Path(guest.disk.path).open("rb") as disk, gzip.open(image, "wb", 1) as out:
        shutil.copyfileobj(disk, out, 1 << 20)
    config = config_file(kernel)
    if config is not None:
        shutil.copyfile(config, directory / f"{name}.kernel.config")
    netlog = guest.link.netlog.text if guest.link.netlog is not None else ""
    for suffix, text in (
        ("kernel.log", guest.link.console.text),
        ("netconsole.log", netlog),
        ("panic.txt", report),
        ("qemu.txt", _ABOUT_QEMU.format(name=name) + _lines(guest.command) + "\n"),
    ):
        if text:
            (directory / f"{name}.{suffix}").write_text(text.replace("\r", ""), "utf-8")


def _lines(command: tuple[str, ...]) -> str:
    """The command for a shell, an option with its argument on each line."""
    text = ""
    for word in map(shlex.quote, command):
        text += f" \\\n  {word}" if word.startswith("-") else f" {word}" if text else word
    return text
