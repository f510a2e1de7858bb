"""What system calls on names and descriptors are in a workload."""

from __future__ import annotations

from workloads.formats.paths import Elsewhere
from workloads.formats.syscalls import (
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_TRUNC,
    Call,
    Handler,
    Process,
    Table,
    Unusable,
    signed,
)
from workloads.ops import Close, Rename, Truncate, Unlink

__all__ = ["NAMES"]

F_DUPFD, F_SETFL, F_DUPFD_CLOEXEC = 0, 4, 1030


def _open(table: Table, process: Process, call: Call) -> None:
    table.open_file(process, call, table.path(process, call, 0), call.args[1])


def _openat(table: Table, process: Process, call: Call) -> None:
    table.open_file(process, call, table.path(process, call, 1, 0), call.args[2])


def _openat2(table: Table, process: Process, call: Call) -> None:
    flags = call.args[2]["flags"] if isinstance(call.args[2], dict) else call.args[2][0]
    table.open_file(process, call, table.path(process, call, 1, 0), flags)


def _creat(table: Table, process: Process, call: Call) -> None:
    flags = 1 | O_CREAT | O_TRUNC
    table.open_file(process, call, table.path(process, call, 0), flags)


def _close(table: Table, process: Process, call: Call) -> None:
    table.close(process, call, call.args[0])


def _close_range(table: Table, process: Process, call: Call) -> None:
    for fd in [fd for fd in process.open if call.args[0] <= fd <= call.args[1]]:
        table.close(process, call, fd)


def _unlink(index: int, at: int | None) -> Handler:
    def run(table: Table, process: Process, call: Call) -> None:
        file = table.name(process, call, index, at)
        if call.error is not None or file not in table.sizes:
            raise Unusable(f"it failed with {call.error}" if call.error else "no such file here")
        if table.users(file):
            table.builder.change(call.line, call.text, "the file's descriptors are closed first")
        table.add(call, Unlink, file=file)
        table.forget(file, "its file was unlinked, and workloads go by names")

    return run


def _rename(old: int, new: int, at: bool) -> Handler:
    def run(table: Table, process: Process, call: Call) -> None:
        file = table.name(process, call, old, old - 1 if at else None)
        to = table.name(process, call, new, new - 1 if at else None)
        if call.error is not None or file not in table.sizes:
            raise Unusable(f"it failed with {call.error}" if call.error else "no such file here")
        if at and len(call.args) > 4 and call.args[4]:
            raise Unusable("no workload has the flags of renameat2(2)")
        if table.users(file) or table.users(to):
            table.builder.change(call.line, call.text, "the files' descriptors are closed first")
        table.forget(to, "its file was replaced, and workloads go by names")
        table.add(call, Rename, file=file, to=to)
        table.renamed(file, to)

    return run


def _truncate(table: Table, process: Process, call: Call) -> None:
    file = table.name(process, call, 0)
    table.add(call, Truncate, file=file, size=table.length(call, call.args[1]))
    if not table.users(file):
        table.add(call, Close, file=file)


def _chdir(table: Table, _process: Process, call: Call) -> None:
    if call.error is None:
        table.paths.enter(call.args[0])
    table.builder.pass_over(call.name)


def _named(index: int, at: int | None, why: str) -> Handler:
    """Calls on a name that no workload has: left out if the name is the file system's."""

    def run(table: Table, process: Process, call: Call) -> None:
        table.paths.below(table.path(process, call, index, at))
        raise Unusable(why)

    return run


# --- descriptors -----------------------------------------------------------------------------


def _dup(table: Table, process: Process, call: Call) -> None:
    found = table.description(process, call.args[0])
    if found is None or call.error is not None:
        raise Elsewhere(call.name)
    target = call.args[1] if call.name in ("dup2", "dup3") else call.result
    if call.name != "dup" and target in process.open and target != call.args[0]:
        table.close(process, call, target)
    if target is not None:
        process.open[target] = found
        if call.name == "dup3" and call.args[2] & O_CLOEXEC:
            process.closing.add(target)


def _fcntl(table: Table, process: Process, call: Call) -> None:
    found = table.description(process, call.args[0])
    if found is None or call.error is not None:
        raise Elsewhere(call.name)
    if call.args[1] in (F_DUPFD, F_DUPFD_CLOEXEC) and call.result is not None:
        process.open[call.result] = found
    elif call.args[1] == F_SETFL:
        kept = found.flags & ~(O_APPEND | O_DIRECT)
        found.flags = kept | call.args[2] & (O_APPEND | O_DIRECT)
    else:
        table.builder.pass_over(call.name)


def _lseek(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    offset, whence = signed(call.args[1]), call.args[2]
    if call.error is None:
        end = table.sizes[found.file or ""]
        base = {0: 0, 1: found.position, 2: end}.get(whence)
        counted = None if base is None else base + offset
        found.position = call.result if call.result is not None else counted
    table.builder.pass_over(call.name)


_NO_DIRECTORIES = "workloads have no directories: a file's name tells its path"
_NO_LINKS = "workloads have no links"

NAMES: dict[str, Handler] = {
    "open": _open, "openat": _openat, "openat2": _openat2, "creat": _creat, "close": _close,
    "close_range": _close_range, "dup": _dup, "dup2": _dup, "dup3": _dup, "fcntl": _fcntl,
    "fcntl64": _fcntl, "lseek": _lseek, "truncate": _truncate, "unlink": _unlink(0, None),
    "unlinkat": _unlink(1, 0), "rename": _rename(0, 1, False), "renameat": _rename(1, 3, True),
    "renameat2": _rename(1, 3, True), "chdir": _chdir, "mkdir": _named(0, None, _NO_DIRECTORIES),
    "mkdirat": _named(1, 0, _NO_DIRECTORIES), "rmdir": _named(0, None, _NO_DIRECTORIES),
    "link": _named(0, None, _NO_LINKS), "linkat": _named(1, 0, _NO_LINKS),
    "symlink": _named(1, None, _NO_LINKS), "symlinkat": _named(2, 1, _NO_LINKS),
    "chmod": _named(0, None, "workloads change no modes"),
    "chown": _named(0, None, "only fchown(2) is an operation"),
    "setxattr": _named(0, None, "workloads have no extended attributes"),
}  # fmt: skip
"""Calls on names and descriptors, by their own name."""
