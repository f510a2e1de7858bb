"""`ext4diff doctor`: what is there, what is missing, and how to get it."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator

from harness.errors import AGREE, Ext4diffError
from harness.options import add_guest_options, choice_of
from harness.sides.machine import GuestSide
from harness.sides.side import Choice
from vm import cache, host_tools
from vm.kernels import store, tools
from vm.qemu import qemu_version

__all__ = ["add", "run"]

HELP = "say what is there, what is missing and how to get it"

Finding = tuple[bool, str]
"""Whether it is fine, and what was found."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_guest_options(parser.add_argument)


def run(options: argparse.Namespace) -> int:
    """Look at everything, even after something is missing; 3 if something needed is."""
    worst = AGREE
    choice = choice_of(options)
    for title, look in CHECKS.items():
        try:
            for fine, text in look(choice):
                print(f"{'ok' if fine else '--':4}{title}: {text}")
        except Ext4diffError as error:
            print(f"BAD {title}: {error}")
            worst = max(worst, error.exit_status)
    return worst


def _tools(_choice: Choice) -> Iterator[Finding]:
    for program in host_tools.PROGRAMS:
        yield True, host_tools.find_program(program)
    yield True, f"QEMU {qemu_version()}"


def _cache(_choice: Choice) -> Iterator[Finding]:
    root = cache.cache_root()
    free = shutil.disk_usage(root).free // 10**6
    used = sum(file.stat().st_blocks * 512 for file in root.rglob("*") if file.is_file()) // 10**6
    needed = cache.NEEDED_MB - used
    room = f"{root}: {used} MB used, {free} MB free"
    enough = free >= needed
    advice = f"; {needed} MB more are needed, XDG_CACHE_HOME moves it elsewhere"
    yield enough, room + ("" if enough else advice)


def _memory(_choice: Choice) -> Iterator[Finding]:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    yield pages >= 600, f"{pages} MiB free, a guest takes 600; {os.cpu_count()} CPUs"


def _kernels(_choice: Choice) -> Iterator[Finding]:
    found = (cache.cache_root() / "kernels").glob("*/usr/lib/modules/*")
    releases = sorted({path.name for path in found})
    yield True, ", ".join(releases) or "none yet; a first run fetches one"


def _building(_choice: Choice) -> Iterator[Finding]:
    """What `--kernel tree:DIR` and the like need; nobody else needs it."""
    missing = tools.missing_packages()
    yield not missing, f"missing: {' '.join(missing)}" if missing else tools.find_compiler().version
    kernels = [f"{kernel.identity.release} ({kernel.identity.source})" for kernel in store.built()]
    yield True, ", ".join(kernels) or "none built yet; see `ext4diff kernel build --help`"


def _guest(choice: Choice) -> Iterator[Finding]:
    """Bring a guest up, as a run would; but install nothing on the host for it."""
    if host_tools.missing_packages():
        yield False, "not tried, because a tool is missing"
        return
    side = GuestSide(choice)
    try:
        side.prepare()
        for line in side.header():
            yield True, line
        yield True, f"accelerator {side.identity()['accel']}: {side.identity()['accel_reason']}"
        known = side.knows_iomap()
        yield (
            known,
            "the kernel "
            + (
                "knows buffered_iomap: both paths can be tested"
                if known
                else "does not know buffered_iomap: the iomap path can't be tested with it"
            ),
        )
    finally:
        side.close()


CHECKS: dict[str, Callable[[Choice], Iterator[Finding]]] = {
    "host tools": _tools,
    "cache": _cache,
    "memory": _memory,
    "kernels in the cache": _kernels,
    "building kernels": _building,
    "guest": _guest,
}
