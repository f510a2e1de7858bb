"""`ext4diff kernel probe`: boot a kernel and say what it can do."""

from __future__ import annotations

import argparse
import textwrap

import msgspec

from harness.errors import AGREE
from harness.options import add_guest_options
from reports.words import columns
from vm.host_tools import ensure_host_tools
from vm.identity import facts_of
from vm.kernel import resolve_kernel
from vm.kernels.identity import KernelIdentity
from vm.probe import Answer, Probe, probe

__all__ = ["HELP", "add", "origin_rows", "run"]

HELP = "boot a kernel and say what it can do, and what a configuration that lacks it needs"
_WIDTH = 100
_HAS = {True: "yes", False: "no", None: "?"}


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("spec", metavar="KERNEL", nargs="?", help="as --kernel takes it")
    add_guest_options(parser.add_argument)
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Boot it; 0 if it could be looked at, whatever it lacks."""
    ensure_host_tools()
    spec = options.spec or options.kernel
    found = probe(resolve_kernel(spec, options.mirror, options.refresh), options.accel)
    print(_json(found) if options.json else "\n".join(_lines(found)))
    return AGREE


def _json(found: Probe) -> str:
    value = {
        "kernel": facts_of(found.kernel),
        "image": found.image,
        "accel": found.accel,
        "boot_seconds": round(found.seconds, 3),
        "abilities": {
            answer.ability.name: {
                "has": answer.has,
                "detail": answer.detail,
                "lost": "" if answer.has else answer.ability.needed,
                "remedy": answer.remedy,
            }
            for answer in found.answers
        },
        "complaints": found.complaints,
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def origin_rows(kernel: KernelIdentity) -> list[tuple[str, str]]:
    """Which kernel it is and where it came from, a word and a value a row; "" if unknown."""
    series = [("series" if number == 0 else "", name) for number, name in enumerate(kernel.series)]
    return [
        ("kernel", kernel.release),
        ("source", kernel.source),
        ("base", kernel.base),
        *series,
        ("flavour", kernel.flavour),
    ]


def _lines(found: Probe) -> list[str]:
    kernel = found.kernel
    rows = [
        *origin_rows(kernel),
        ("build id", kernel.build_id or "none: it was linked without one"),
        ("config", f"sha256 {kernel.config_sha256}" if kernel.config_sha256 else "not known"),
        ("boot", f"{found.seconds:.1f} s of its own time, {found.accel}"),
    ]
    lines = [f"{name:9}{value}" for name, value in rows if value]
    table = [(_HAS[answer.has], answer.ability.name, answer.detail) for answer in found.answers]
    lines += ["", *(line.rstrip() for line in columns(table))]
    lacking = [answer for answer in found.answers if answer.has is False]
    if lacking:
        lines += ["", "What it lacks"]
        for answer in lacking:
            lines += _lack(answer)
    if found.complaints:
        lines += ["", "What it complained of"]
        lines += [f"  {complaint}" for complaint in found.complaints]
    return lines


def _lack(answer: Answer) -> list[str]:
    text = f"{answer.ability.name}: {answer.ability.needed}"
    if answer.remedy:
        text += f" ({answer.remedy})"
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
    )
