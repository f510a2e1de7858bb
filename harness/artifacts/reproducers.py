"""What shows a mismatch without ext4diff: a script of xfs_io commands and a C program."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.artifacts.expected_image import START_IMAGE
from workloads.formats.c_export import write_program
from workloads.formats.exported import Exported, said_of
from workloads.formats.xfs_io_export import write_script
from workloads.program import Program
from workloads.workload import Config

__all__ = ["NAME", "RUN", "exports", "recipe", "write_reproducers"]

NAME = "reproduce"
"""Of the files, without suffix."""
_WRITERS = {"sh": write_script, "c": write_program}
RUN = {
    "sh": (f"sh {NAME}.sh /mnt $DEV",),
    "c": (f"gcc -O1 -static -o {NAME} {NAME}.c", f"./{NAME} /mnt $DEV"),
}
"""Commands that build and start each kind, once the file system is mounted."""


def exports(program: Program) -> dict[str, Exported]:
    """What each kind (`sh`, `c`) makes of `program`."""
    program = msgspec.structs.replace(program, name=NAME)
    return {kind: write(program) for kind, write in _WRITERS.items()}


def write_reproducers(program: Program, directory: Path) -> list[str]:
    """Write both into `directory`; lines for its README: how to run them, what they lack."""
    config = program.configs[0]
    lines = recipe(config)
    for kind, exported in exports(program).items():
        for suffix, text in exported.files.items():
            (directory / f"{NAME}{suffix}").write_text(text, "utf-8")
        lines += ["", *RUN[kind]]
        lines += [f"  # {line}" for line in said_of(exported.left_out, len(program.ops))]
    return lines


def recipe(config: Config) -> list[str]:
    """Commands that make the file system of `config` and mount it on /mnt, as `$DEV`."""
    image = config.image
    if image.sha256:
        make = [f"gzip -dc {START_IMAGE} > disk.img"]
    else:
        words = " ".join(image.options)
        make = [
            "truncate -s 64M disk.img",
            f"mke2fs -q -F -t ext4 -m 0 {words} disk.img {image.size // 1024}K",
        ]
    mount = ",".join(["noatime", *config.mount.split(",")])
    return [*make, "DEV=$(losetup --find --show disk.img)", f"mount -o {mount} $DEV /mnt"]
