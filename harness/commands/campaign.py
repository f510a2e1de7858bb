"""`ext4diff campaign`: generated programs for hours, on many guests."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts.artifact import FOLDER, results_folder
from harness.campaign.plan import Plan
from harness.campaign.progress import done_text, duration_text, rate_text
from harness.campaign.store import FILE, Store
from harness.errors import UsageError
from harness.extras import require
from harness.generated import Batch, chosen_configs
from harness.options import add_against, add_guest_options, add_limits, pin_kernels
from harness.pairs import MODEL
from harness.session import exit_status
from harness.trace import Observe
from reports.summary import summarise
from reports.words import times
from vm.boot import MEMORY
from workloads.generate import KINDS
from workloads.generate.plan import CONFIGS
from workloads.program import DEFAULT_CONFIGS

if TYPE_CHECKING:
    from harness.campaign.night import Asked, Ended
    from reports.rows import Night

__all__ = ["add", "run"]

HELP = "run generated programs for hours, on many guests or machines, with nothing lost"
_PACKAGES = ("distributed", "pandas")
"""Of the extra `campaign`."""
_SCHEDULER = re.compile(r"((tcp|tls|ws|wss)://)?\S+:\d{1,5}|inproc://\S+")
"""An address as dask writes it; `inproc` is a scheduler of this process."""
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s?)?")


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_argument = parser.add_argument
    add_argument("--seed", type=int, metavar="S", help="of the programs (default: a new one)")
    add_argument("--time", type=_seconds, metavar="T", help="stop after it: 8h, 90m, 1h30m, 45s")
    add_argument("--count", type=int, metavar="N", help="seeded programs to run in all")
    add_argument(
        "--findings", type=int, metavar="N", help="stop after so many that were not known before"
    )
    add_argument(
        "--kind", action="append", default=[], choices=(*KINDS, "none"),
        help="of seeded programs, in turn (default: all; none: only what follows)",
    )  # fmt: skip
    add_argument("--exhaustive", metavar="FIRST:END|all", help="these programs, first of all")
    add_argument("--catalogue", action="store_true", help="the catalogue, before seeded programs")
    add_argument(
        "--on", action="append", default=[], metavar="CONFIG",
        help="configurations of seeded programs, patterns too (default: the seed chooses)",
    )  # fmt: skip
    add_argument(
        "-j", "--guests", type=int, metavar="N", default=os.cpu_count() or 1,
        help="guests at a time, a worker process each (default: one for each CPU)",
    )  # fmt: skip
    add_argument(
        "--scheduler", type=_address, metavar="ADDRESS",
        help="use the workers of this dask scheduler (tcp://host:8786), not some of our own",
    )  # fmt: skip
    add_argument(
        "--wait-for-workers", type=_seconds, metavar="T", default=600.0,
        help="stop, with status 3, when no worker has been there for so long (default: 10m)",
    )  # fmt: skip
    add_argument(
        "--results", metavar="DIR",
        help=f"where {FILE} and artifacts go; a store there is gone on with, as a new night"
        f" (default: {FOLDER}/TIME)",
    )  # fmt: skip
    add_argument(
        "--resume", metavar="DIR", help="go on with the last campaign there, where it stopped"
    )
    add_argument(
        "--disk", type=int, metavar="MB", default=4096,
        help="for artifacts; the oldest go first, findings never (default: 4096)",
    )  # fmt: skip
    add_guest_options(add_argument)
    add_against(add_argument)
    add_limits(add_argument)


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 8h, 90m, 1h30m or 45s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise argparse.ArgumentTypeError("no time at all: write 8h, 90m, 1h30m or 45s")
    return float(total)


def _address(text: str) -> str:
    if _SCHEDULER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write tcp://HOST:8786")
    return text


def run(options: argparse.Namespace) -> int:
    """Run the night; 1 if there is a mismatch, also if it was there before."""
    require("a campaign", _PACKAGES)
    from harness.campaign import night as nights  # noqa: PLC0415 - needs the packages
    from harness.campaign.engine import Limits  # noqa: PLC0415

    if options.guests < 1 or options.disk < 1:
        raise UsageError("-j and --disk are 1 or more")
    folder = results_folder(options.resume or options.results)
    if options.resume:
        path = folder / FILE
        if not path.is_file():
            raise UsageError(f"--resume {options.resume}: there is no {path.name} in it")
        with Store.read(path) as store:
            night, asked = nights.last_night(store)
        _require_same(options, night, asked)
        if asked.plan.total is None and not (options.time or options.findings):
            print("this night has no end: Ctrl-C ends it, or say --time 8h")
    else:
        line = _line(options)
        pin_kernels(options)
        asked = nights.Asked(
            _plan(options), options.against, options.strict_model, options.kernel,
            options.accel, options.mirror, options.always_boot, Observe(options.observe),
            options.memory, options.program_time,
        )  # fmt: skip
        night = nights.new_night(asked, line)
    folder.mkdir(parents=True, exist_ok=True)
    ended = nights.work(
        folder, night, asked, Limits(options.time, options.findings, options.wait_for_workers),
        workers=options.guests, scheduler=options.scheduler, budget=options.disk << 20,
        tell=partial(print, flush=True),  # at the head of a log, before the progress
    )  # fmt: skip
    digests = ended.digests
    for text in _summary(folder, ended):
        print(text)
    return exit_status(digests, interrupted=ended.interrupted)


def _require_same(options: argparse.Namespace, night: Night, asked: Asked) -> None:
    """Raise `UsageError` if the user asks to go on with something else than the `night` had:
    nobody would see that it was not done."""
    kernel, _, rest = night.line.partition(" against ")
    kinds = tuple(dict.fromkeys(options.kind)) or KINDS
    other = {
        "--results": options.results not in (None, options.resume),
        "--seed": options.seed not in (None, asked.plan.seed),
        "--count": options.count not in (None, asked.plan.count),
        "--kind": bool(options.kind) and asked.plan.kinds != (() if "none" in kinds else kinds),
        "--exhaustive": options.exhaustive is not None and asked.plan.exhaustive is None,
        "--catalogue": options.catalogue and not asked.plan.catalogue,
        "--on": bool(options.on)
        and asked.plan.configs != chosen_configs(options.on, tuple(CONFIGS)),
        "--kernel": options.kernel not in (None, asked.kernel, kernel),
        "--against": options.against not in (MODEL, asked.against, rest.partition(",")[0]),
        "--strict-model": options.strict_model and not asked.strict,
        "--observe": options.observe not in (Observe.STEPS, asked.observe),
        "--memory": options.memory not in (MEMORY, asked.memory),
        "--program-time": options.program_time not in (None, asked.program_time),
    }
    found = [option for option, differs in other.items() if differs]
    if found:
        raise UsageError(
            f"--resume goes on with what the night had ({night.line}, seed {night.seed}): leave"
            f" out {', '.join(found)}; --results {options.resume} in its place begins a new night"
        )


def _summary(folder: Path, ended: Ended) -> list[str]:
    lines = [
        "",
        *summarise(ended.digests),
        "",
        f"{done_text(ended.ran, ended.programs)} in {duration_text(ended.seconds)}"
        f" ({rate_text(ended.ran, ended.seconds)}); {ended.why}",
    ]
    for what, count in ended.trouble.items():
        lines.append(f"not kept, {times(count, 'time')}: {what}")
    if ended.dropped:
        lines.append(f"{ended.dropped} old artifacts were dropped for want of room (--disk)")
    lines.append(f"results are in {folder}; as a page: ext4diff report {folder / FILE}")
    if not ended.complete:
        lines.append(f"to go on: ext4diff campaign --resume {folder}")
    return lines


def _plan(options: argparse.Namespace) -> Plan:
    kinds = () if options.kind == ["none"] else tuple(dict.fromkeys(options.kind)) or KINDS
    if "none" in kinds:
        raise UsageError("--kind none goes with no other kind")
    exhaustive = None
    if options.exhaustive:
        batch = Batch.exhaustive(options.exhaustive, chosen_configs(options.on, DEFAULT_CONFIGS))
        exhaustive = (batch.start, batch.stop)
    if not (kinds or exhaustive or options.catalogue):
        raise UsageError("--kind none: say what else to run: --exhaustive, --catalogue")
    if kinds and options.count is None and not (options.time or options.findings):
        raise UsageError("say when to stop: --time 8h, --count 10000, or --findings 1")
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    if seed < 0 or any(n is not None and n < 1 for n in (options.count, options.findings)):
        raise UsageError("--seed is 0 or more, --count and --findings 1 or more")
    configs = chosen_configs(options.on, tuple(CONFIGS)) if options.on else ()
    return Plan(seed, kinds, options.count, exhaustive, options.catalogue, configs)


def _line(options: argparse.Namespace) -> str:
    """What is tested, by the words that the user has for it."""
    strict = ", strictly" if options.strict_model else ""
    seen = ", observed at the end only" if options.observe == Observe.END else ""
    return f"{options.kernel or 'default kernel'} against {options.against}{strict}{seen}"
