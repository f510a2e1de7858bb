"""The options that choose a guest, the same for every command that starts one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from harness.sides import Choice
from harness.trace import Observe
from vm.kernel import pinned
from vm.kernels.spec import HELP as SPEC_HELP

__all__ = [
    "add_against", "add_guest_options", "add_observe", "add_record", "choice_of", "observe_of",
    "pin_kernels",
]  # fmt: skip


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


def add_observe(add: Callable[..., object]) -> None:
    """Declare `--observe`."""
    add(
        "--observe", choices=tuple(Observe), default=Observe.STEPS.value,
        help="when a program is observed: after all of its steps (the default), or at its end"
        " only, which is faster and compares less; one that then mismatches runs again",
    )  # fmt: skip


def observe_of(options: argparse.Namespace) -> Observe:
    """What the user chose with it."""
    return Observe(options.observe)


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
    """What the user chose with them."""
    return Choice(
        options.kernel, options.accel, options.mirror, options.refresh, options.always_boot
    )
