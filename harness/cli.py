"""The command line: `ext4diff COMMAND ...`."""

from __future__ import annotations

import argparse
import importlib
import keyword
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from harness.artifacts.manifest import harness_version
from harness.collector import collect_seldom
from harness.errors import INTERRUPTED, MACHINERY, Ext4diffError
from harness.interrupt import interrupt_on_termination
from reports.screen import fit

__all__ = ["main"]

COMMANDS = (
    "differential", "run", "replay", "pack", "mail",
    "check-recording", "bench", "lint", "generate", "coverage", "steer",
    "import", "export", "image", "kernel", "bisect", "minimize", "campaign", "report",
    "doctor", "shell",
)  # fmt: skip
"""Each is a module of `harness.commands`."""
STATUS = """\
exit status: 0 all agree, or differ by known issues only; 1 a mismatch; 2 the command or
a workload is wrong; 3 the machinery failed; 130 interrupted
"""


def _module(command: str) -> ModuleType:
    """The command's module, imported only now: that takes long enough for a Ctrl-C."""
    name = command.replace("-", "_") + "_" * keyword.iskeyword(command)
    return importlib.import_module(f"harness.commands.{name}")


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these commands: importing all of them takes a while."""
    parser = argparse.ArgumentParser(
        prog="ext4diff",
        description="Differential tests of ext4's buffered I/O: an executable model against"
        " real kernels in QEMU, compared after every operation.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ext4diff {harness_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        module = _module(name)
        added = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add(added)
    return parser


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["differential"]:  # what follows is for pytest's parser
        return int(_module("differential").main_job(words[1:]))
    names = words[:1] if words[:1] and words[0] in COMMANDS else COMMANDS
    options = _parser(names).parse_args(words)
    return int(_module(options.command).run(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    interrupt_on_termination()
    collect_seldom()
    for stream in (sys.stdout, sys.stderr):
        fit(stream)
    try:
        status = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where it is known what to do if nobody reads
        return status
    except Ext4diffError as error:
        print(f"ext4diff: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("ext4diff: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # nobody reads any more; say nothing on the way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.close()
        return MACHINERY
    except Exception:  # Python's own status would be 1, which says mismatch
        traceback.print_exc()
        print("ext4diff: that is a fault of ext4diff itself, and no mismatch", file=sys.stderr)
        return MACHINERY
