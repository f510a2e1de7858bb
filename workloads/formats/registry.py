"""The formats by name, and which of them a text is in."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from workloads.formats.c_export import write_program
from workloads.formats.exported import Exported, Foretell
from workloads.formats.fsx_export import write_ops
from workloads.formats.fsx_import import read_log, read_ops
from workloads.formats.fsx_words import WORDS
from workloads.formats.imported import Imported
from workloads.formats.paths import Paths
from workloads.formats.strace import read_strace
from workloads.formats.syzkaller import read_syzkaller
from workloads.formats.xfs_io_export import write_script
from workloads.formats.xfs_io_import import read_script
from workloads.formats.xfstests_export import write_case
from workloads.program import Program

__all__ = ["EXPORTS", "IMPORTS", "Export", "Import", "detect"]


class Import(msgspec.Struct, frozen=True):
    """A format to read: what it is called and looks like.

    `read` takes the text, the program's name, what errors call the text, and where the file
    system was mounted. It raises `WorkloadSyntaxError`.
    """

    name: str
    what: str
    looks: re.Pattern[str]
    read: Callable[[str, str, str, Paths | None], Imported]


class Export(msgspec.Struct, frozen=True):
    """A format to write: its `name`, and `what` it is.

    `write` takes the program, what is expected of operations, and a name without suffix for
    the files. `foretold` formats use the second.
    """

    name: str
    what: str
    write: Callable[[Program, Foretell, str], Exported]
    foretold: bool = False


def _fsx(text: str, name: str, file: str, _paths: Paths | None) -> Imported:
    read = read_log if "LOG DUMP (" in text else read_ops
    return read(text, name, file)


IMPORTS: dict[str, Import] = {
    found.name: found
    for found in (
        Import(
            "fsx",
            "fsx operations: a file of --record-ops (.fsxops) or the log printed at a failure",
            re.compile(
                rf"LOG DUMP \(\d+|^(?:skip )?(?:{'|'.join(WORDS)}) 0x[0-9a-f]+ 0x[0-9a-f]+ 0x",
                re.MULTILINE,
            ),
            _fsx,
        ),
        Import(
            "strace",
            "strace logs of an application, with -f too",
            re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(?:[\d:.]+ +)?\w+\(.*\) += -?\w", re.MULTILINE),
            read_strace,
        ),
        Import(
            "syzkaller",
            "syzkaller programs",
            re.compile(
                r"^(?:r\d+ = )?[a-z]\w+(?:\$\w+)?\(.*(?:0x|\br\d|&\().*\)\s*(?:#.*)?$", re.MULTILINE
            ),
            read_syzkaller,
        ),
        Import(
            "xfs_io",
            "shell scripts of xfs_io commands, or the commands as xfs_io reads them",
            re.compile(
                r"xfs_io|XFS_IO_PROG|^(?:open -|(?:pwrite|falloc) (?:-\S+ )*\d\S* +\d)",
                re.MULTILINE,
            ),
            read_script,
        ),
    )
}

EXPORTS: dict[str, Export] = {
    found.name: found
    for found in (
        Export(
            "xfs_io", "a shell script of xfs_io commands", lambda program, *_: write_script(program)
        ),
        Export("c", "a C program", lambda program, *_: write_program(program)),
        Export(
            "fsx", "a file for fsx --replay-ops",
            lambda program, foretell, _: write_ops(program, foretell), foretold=True,
        ),
        Export("xfstests", "a case of xfstests with its golden output", write_case, foretold=True),
    )
}  # fmt: skip


def detect(text: str) -> list[Import]:
    """The formats that `text` may be in."""
    return [found for found in IMPORTS.values() if found.looks.search(text)]
