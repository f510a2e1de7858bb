"""`ext4diff shell`: a person's own shell in the guest, at a step of a workload."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from pathlib import Path

from harness.artifacts.artifact import results_folder
from harness.errors import AGREE, MISMATCH, USAGE, MachineryError, UsageError
from harness.options import add_guest_options
from harness.recording_side import forwards_only
from harness.shell_session import Session
from harness.shell_target import Target, target_of
from reports.shell import gdb_lines, greeting
from vm.apt import progress
from vm.boot import Deadlines
from vm.errors import KernelPanicError
from vm.gdb import Stub
from vm.gdb_symbols import Symbols, fetch, find_symbols, offer
from vm.host_tools import ensure_host_tools
from vm.initramfs import boot_files
from vm.kernel import Kernel
from vm.replaying import PATIENCE, kernel_of, read_recording, replay
from vm.shell import Listener, Opening, ShellGuest, TerminalLine, with_devices
from vm.shell_terminal import interact, window_size

__all__ = ["HELP", "add", "run"]

HELP = "a shell in the guest, at the step before a mismatch, with all tools at hand"
EPILOG = """\
Without --kernel it is an artifact's own kernel. Without a terminal the commands come by stdin.

exit status: 0; 1 the kernel died; 2 the command is wrong, or the last one on stdin failed;
3 the machinery failed; 130 interrupted
"""
EVENTS = "ext4:*"
_DAY = 86400.0
_PATIENT = Deadlines(boot=_DAY, step=_DAY, end=_DAY)
"""Who debugs a kernel stops it for as long as it takes."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "target", metavar="ARTIFACT|FILE|LINE", nargs="?",
        help="what a mismatch left, a workload file, or a line of operations (default: an empty "
        "file system)",
    )  # fmt: skip
    parser.add_argument(
        "--at", type=int, metavar="STEP",
        help="the step that comes next (default: an artifact's first that differs; else 1)",
    )  # fmt: skip
    parser.add_argument("--on", metavar="CONFIG", help="image@mount, unless it is an artifact")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="IMAGE", help="an image to start from"
    )
    parser.add_argument(
        "--trace", metavar="EVENTS",
        help="trace events that are on (ext4:*,writeback:*); those of each step that `step` "
        f"performs are shown and kept (default: {EVENTS} are on, nothing is kept)",
    )  # fmt: skip
    parser.add_argument(
        "--rr", type=Path, metavar="DIR",
        help="not a shell: replay what `ext4diff replay --rr DIR` recorded; with --gdb under a "
        "debugger that can go backwards, else to its end, and compare",
    )  # fmt: skip
    parser.add_argument("--gdb", action="store_true", help="let gdb attach to the kernel")
    parser.add_argument("--stopped", action="store_true", help="with --gdb: gdb starts the kernel")
    parser.add_argument(
        "--symbols", action="store_true",
        help="with --gdb: fetch the symbols of a kernel of Debian (some 350 MB) without asking",
    )  # fmt: skip
    add_guest_options(parser.add_argument)
    parser.add_argument(
        "--results", metavar="DIR", help="where trace events are kept (default: as for run)"
    )


def run(options: argparse.Namespace) -> int:
    """Open the shell, or run the commands on stdin if that is no terminal.

    The status is 1 if the kernel dies meanwhile, 2 if the last of the commands fails.
    """
    if (options.stopped or options.symbols) and not options.gdb:
        raise UsageError("--stopped and --symbols go with --gdb")
    if options.rr is not None:
        return _replay(options)
    if sys.stdin.isatty() and not sys.stdout.isatty():
        raise UsageError("stdout is no terminal: a shell needs one, or its commands on stdin")
    with contextlib.ExitStack() as stack:
        target = target_of(options.target, options.on, options.start, stack)
        target = _at(target, options.at)
        try:
            return _open(options, target, stack)
        except KernelPanicError as error:
            print(f"\next4diff: {error}\n\n{error.report}".rstrip())
            return MISMATCH


def _replay(options: argparse.Namespace) -> int:
    """Replay a recording; 3 if it does not come to the same."""
    if options.target or options.on or options.start or options.trace:
        raise UsageError("--rr: a recording has its own workload, file system and kernel")
    ensure_host_tools()
    folder = options.rr.absolute()
    recording = read_recording(folder)
    kernel = kernel_of(recording, folder)
    if not options.gdb:
        progress(f"replaying {folder}, {recording.workload.name} on {recording.release}")
        if not replay(folder):
            raise MachineryError(f"{folder} did not replay to what was recorded: record it again")
        print("replayed to the end: kernel and agent said the same as in the recording")
        return AGREE
    stub = Stub(_symbols(kernel, folder / "kernel", options), held=True)
    with contextlib.closing(stub):
        step = recording.step if options.at is None else options.at - 1
        words = f"{folder} waits for gdb, from elsewhere:"
        print("\n".join(gdb_lines(stub.line(stop_before=step), words)))
        if not recording.backwards:
            print("\n".join(forwards_only()))
        print("Ctrl-C, or kill in gdb, ends it", flush=True)
        replay(folder, stub, _long)
    return AGREE


def _long() -> None:
    progress(
        f"the machine has not stopped for {PATIENCE:g} s; if gdb went backwards, it may never come"
        " back: Ctrl-C in gdb ends the attempt"
    )


def _at(target: Target, step: int | None) -> Target:
    """`target` before step `step` (from 1)."""
    if step is None:
        return target
    steps = len(target.workload.ops)
    if not 1 <= step <= steps + 1:
        raise UsageError(
            f"--at {step}: the workload has {steps} steps; 1 to {steps + 1} (all are done) will do"
        )
    return dataclasses.replace(target, at=step - 1)


def _open(options: argparse.Namespace, target: Target, stack: contextlib.ExitStack) -> int:
    ensure_host_tools()
    kernel = target.kernel(options)
    files = boot_files(kernel, mirror=options.mirror, refresh=options.refresh)
    line = TerminalLine()
    stack.callback(line.close)
    devices, stub = line.devices, None
    if options.gdb:
        stub = Stub(_symbols(kernel, files.kernel, options), held=options.stopped)
        stack.callback(stub.close)
        devices = with_devices(devices, stub.devices)
        if options.stopped:
            words = "gdb starts the kernel (attach, then continue), from elsewhere:"
            print("\n".join(gdb_lines(stub.line(), words)), flush=True)
    guest = ShellGuest.start(
        kernel, options.accel, files, cpus=target.workload.cpus, network=False, devices=devices,
        deadlines=_PATIENT if options.gdb else None,
    )  # fmt: skip
    stack.enter_context(guest)
    line.connected()
    other = target.other_kernel(guest.kernel)
    if other:
        progress(other)
    return _session(options, target, guest, line, stub)


def _session(
    options: argparse.Namespace, target: Target, guest: ShellGuest, line: TerminalLine,
    stub: Stub | None,
) -> int:  # fmt: skip
    """Bring the guest to its step, and let the person, or the script, work there."""
    script = None if sys.stdin.isatty() else sys.stdin.read()
    events = tuple(word for word in (options.trace or EVENTS).split(",") if word)
    opening = Opening(
        target.workload, target.at, events, record=options.trace is not None, mark=options.gdb,
        script=script, size=window_size(), term=os.environ.get("TERM", "dumb"),
    )  # fmt: skip
    trace = guest.open_shell(opening)
    results = results_folder(options.results)
    session = Session(target.workload, target.expected, results, colour=script is None)
    head = [target.title, f"{guest.name} ({guest.kernel.source}), {guest.accel.name}"]
    head += session.before(trace)
    if stub is not None:
        head += gdb_lines(stub.line(guest.sections), "gdb may attach, from elsewhere:")
    text = greeting(target.workload, target.at, [line for line in head if line], guest.events)
    if script is not None:
        print(text, file=sys.stderr, end="", flush=True)
        listener = Listener(session.asked, lambda said: print(said, end="", flush=True))
        status = guest.attend(listener, lambda: True, lambda: None)
        if status:
            progress(f"the commands ended with status {status}")
        return USAGE if status else AGREE
    print(text, end="", flush=True)
    interact(guest, line.socket, Listener(session.asked, lambda _: None))
    return AGREE


def _symbols(kernel: Kernel, image: Path, options: argparse.Namespace) -> Symbols | None:
    """The symbols of `kernel`, which boots as `image`; asks before it fetches any."""
    found = find_symbols(kernel, image)
    if found is not None:
        return found
    offered = offer(kernel, options.mirror)
    if offered is None:
        progress(
            f"gdb will know no names: there is no vmlinux with symbols beside {kernel.image};"
            " `ext4diff kernel build ...+symbols` makes one"
        )
        return None
    package = f"{offered.package.name} ({offered.megabytes} MB to fetch)"
    if not options.symbols and not _agreed(f"the kernel's symbols are in {package}: fetch it?"):
        progress(f"gdb will know no names: they are in {package}, which --symbols fetches")
        return None
    fetch(kernel, offered)
    return find_symbols(kernel, image)


def _agreed(question: str) -> bool:
    """Whether the person says yes (Ctrl-D is no); nobody is asked where there is no terminal."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"ext4diff: {question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
