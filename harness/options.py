"""The options that choose a guest, the same for every command that starts one."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Callable

from harness.sides.side import Choice
from harness.trace import Observe
from vm.boot import MEMORY
from vm.kernel import pinned
from vm.kernels.spec import HELP as SPEC_HELP

__all__ = [
    "add_against", "add_guest_options", "add_limits", "add_record", "choice_of", "pin_kernels",
]  # fmt: skip

_MOST_MEMORY = 65536
_LONGEST = 86400
"""Seconds of a day."""


def add_guest_options(add: Callable[..., object]) -> None:
    """Declare them; `add` is `add_argument` of argparse or `addoption` of pytest."""
    add(
        "--kernel", metavar="SPEC",
        help=f"{SPEC_HELP} (default: the distribution's newest)",
    )  # fmt: skip
    add(
        "--accel", choices=("auto", "kvm", "tcg"), default="auto",
        help="how QEMU runs the guest (default: KVM if a probe boot succeeds)",
    )  # fmt: skip
    add(
        "--mirror", metavar="URL",
        help="Debian mirror of kernel and user space (default: EXT4DIFF_DEBIAN_MIRROR or apt's)",
    )  # fmt: skip
    add("--refresh", action="store_true", help="look for newer packages than those in the cache")
    add(
        "--always-boot", action="store_true",
        help="boot every guest, instead of going on from the snapshot of one that has booted",
    )  # fmt: skip


def add_against(add: Callable[..., object]) -> None:
    """Declare `--against` and `--strict-model`, for the commands that compare."""
    add(
        "--against", metavar="WHAT", default="model",
        help="what the kernel is held against: model (the default), path:buffer_head or"
        " path:iomap (this kernel takes the other path), or another kernel, as --kernel",
    )  # fmt: skip
    add(  # pytest has a --strict of its own
        "--strict-model", action="store_true",
        help="follow no known issue: where one shows, that is a mismatch",
    )  # fmt: skip


def add_limits(add: Callable[..., object]) -> None:
    """Declare `--memory` and `--program-time`, and when a program is observed."""
    add(
        "--memory", metavar="MIB", type=_mebibytes, default=MEMORY,
        help=f"of a guest: {MEMORY}, the default, or more, for kernels with sanitizers say",
    )  # fmt: skip
    add(
        "--program-time", metavar="S", type=_seconds,
        help="seconds that a guest gets for a program; one that takes longer hangs, which is a"
        " finding (default: each operation has a minute, three where it is emulated)",
    )  # fmt: skip
    add(
        "--observe", choices=tuple(Observe), default=Observe.STEPS.value,
        help="when a program is observed: after all of its steps (the default), or at its end"
        " only, which is faster and compares less; one that then mismatches runs again",
    )  # fmt: skip


def _mebibytes(text: str) -> int:
    """With less than `MEMORY` a kernel writes data back because memory runs short, at a time
    that nobody can foretell."""
    if not text.isdecimal() or not MEMORY <= int(text) <= _MOST_MEMORY:
        raise argparse.ArgumentTypeError(
            f"{text!r} MiB: a guest has {MEMORY} to {_MOST_MEMORY}; with less it would write data"
            " back when memory runs short"
        )
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= _LONGEST:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} s: write 1 to {_LONGEST}, as in --program-time 60")


def add_record(add: Callable[..., object]) -> None:
    """Declare `--record`."""
    add(
        "--record", metavar="FILE.jsonl.xz",
        help="keep what the kernel did, for check-recording",
    )  # fmt: skip


def pin_kernels(options: argparse.Namespace) -> None:
    """Build what `--kernel` and `--against` name, and put the built kernels in their place.

    For processes that take these options from this one: a source may change meanwhile,
    and all are to test the same kernel. Raises `Ext4diffError`.
    """
    for name in ("kernel", "against"):
        found = pinned(getattr(options, name), options.mirror, options.refresh)
        setattr(options, name, found)


def choice_of(options: argparse.Namespace) -> Choice:
    """What the user chose of a guest; with `add_limits`, of how programs run there, too."""
    chosen = Choice(
        options.kernel, options.accel, options.mirror, options.refresh, options.always_boot
    )
    if "program_time" not in options:
        return chosen
    return dataclasses.replace(
        chosen, observe=Observe(options.observe), memory=options.memory,
        program_time=options.program_time,
    )  # fmt: skip
