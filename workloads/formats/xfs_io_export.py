"""A workload as a shell script of xfs_io commands.

Each run of operations on one descriptor is one call of xfs_io. xfs_io's fiemap always
syncs, so what is delayed can't be seen; and no descriptor outlives its call, so a file is
closed more often than in the workload. Both is said in the script's head. Only around
drop_caches are files held open: it would evict the inodes, and with them what they have not
written, such as the size of a file whose writeback found no space.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from workloads.fields import format_number
from workloads.formats.exported import Exported, Kept, LeftOut, said_of
from workloads.formats.heads import head_of
from workloads.formats.xfs_io_words import DEFAULT_BUFFER, END, RANGES, WRITES
from workloads.ops import (
    AnyOp,
    Chown,
    Close,
    CopyRange,
    DropCaches,
    DsyncWrite,
    Fdatasync,
    FileOp,
    Fsync,
    MmapWrite,
    MsyncWrite,
    Op,
    Otrunc,
    Parallel,
    Read,
    Remount,
    Rename,
    Seek,
    Sendfile,
    Sync,
    Truncate,
    Unlink,
)
from workloads.program import Program
from workloads.syntax import format_op

__all__ = ["SUFFIX", "Call", "calls", "impossible", "write_script"]

SUFFIX = ".sh"
PAGE = 4096
DESCRIPTORS = range(3, 10)
"""Those that any shell can redirect, less the standard ones."""

_USAGE = """\
usage: sh {name}.sh DIRECTORY [DEVICE]
DIRECTORY is where an empty ext4 is mounted ({config}); remounting needs its DEVICE
content: xfs_io repeats one byte (-S), the workload's own patterns are not written
descriptors: a file is closed at the end of each line, the workload keeps it open (here,
  only drop_caches finds it open)
copies: xfs_io asks again for the rest of one that comes short, the workload does not
fiemap of xfs_io syncs first: what is delayed can't be seen by this script\
"""
_SHOW = """\
sync
if [ -n "$DEV" ]; then
	umount "$D" && mount -t ext4 -o noatime,@MOUNT@ "$DEV" "$D"
fi
for file in "$D"/*; do
	[ -f "$file" ] || continue
	stat -c '%n size %s blocks %b' "$file"
	xfs_io -r -c "fiemap -v" "$file"
done
"""
_START = """\
D=${1:?DIRECTORY}
DEV=${2:-}"""


class Call(msgspec.Struct, frozen=True):
    """A line of the script: operations `indices` (from 0) on one descriptor of `file`.

    `flags` are xfs_io's options, `commands` what it is told; a line without commands is
    `shell`. With a `guard` (bytes), it is left out where the file is smaller.
    """

    indices: tuple[int, ...]
    file: str = ""
    flags: str = ""
    commands: tuple[str, ...] = ()
    shell: str = ""
    guard: int | None = None

    def text(self, program: str = "xfs_io", root: str = "$D") -> str:
        """The line, for a file system at `root`."""
        if self.shell:
            return self.shell.replace("$D/", f"{root}/")
        parts = "".join(f' -c "{command}"' for command in self.commands)
        create = "" if self.commands[0] in ("quit", "close") else "f"  # these make no file
        flags = f" -{create}{self.flags}" if create + self.flags else ""
        line = f'{program}{flags}{parts} "{root}/{self.file}"'.replace("$D/", f"{root}/")
        if self.guard is None:
            return line
        return f'[ "$(stat -c %s "{root}/{self.file}")" -lt {self.guard} ] || {line}'


def write_script(program: Program) -> Exported:
    """The script. What xfs_io can't do is left out."""
    left_out = impossible(list(enumerate(program.ops)))
    missing = {item.index for item in left_out}
    lines = calls([(index, op) for index, op in enumerate(program.ops) if index not in missing])
    mount = program.configs[0].mount
    usage = _USAGE.format(name=program.name, config=" or ".join(c.name for c in program.configs))
    head = [*head_of(program), *said_of(left_out, len(program.ops)), *usage.splitlines()]
    text = "#!/bin/sh\n" + "".join(f"# {line}\n" for line in head) + _START + "\n\n"
    for call in lines:
        for index in call.indices:
            text += f"# {index + 1} {format_op(program.ops[index], index)}\n"
        text += call.text().replace("@MOUNT@", mount) + "\n"
    text += f"\n{END}\n" + _SHOW.replace("@MOUNT@", mount)
    return Exported({SUFFIX: text}, tuple(left_out))


def impossible(kept: Kept) -> list[LeftOut]:
    """What of `kept` xfs_io can't do."""
    return [
        LeftOut.of(index, op, why)
        for index, op, files in _with_open_files(kept)
        if (why := _problem(op, files)) is not None
    ]


def calls(kept: Kept) -> list[Call]:
    """The script's lines for operations that xfs_io can do."""
    lines: list[Call] = []
    for index, op, files in _with_open_files(kept):
        for call in _calls_of(op, index, files):
            if lines and _joins(lines[-1], call):
                last = lines.pop()
                indices = tuple(dict.fromkeys((*last.indices, index)))
                commands = (*last.commands, *call.commands)
                lines.append(msgspec.structs.replace(last, indices=indices, commands=commands))
            else:
                lines.append(call)
    return lines


def _joins(last: Call, call: Call) -> bool:
    """Whether xfs_io can go on with `call` behind `last`."""
    if last.shell or not call.commands or call.commands[0].startswith("sendfile"):
        return False
    if last.commands[-1] in ("close", "quit") or not (last.guard is call.guard is None):
        return False
    if last.commands[-1].startswith("copy_range"):  # a failing one ends xfs_io
        return False
    return call.commands == ("sync",) or (call.file, call.flags) == (last.file, last.flags)


def _with_open_files(kept: Kept) -> Iterator[tuple[int, AnyOp, tuple[str, ...]]]:
    """Each operation, its place, and the files that the workload has open before it."""
    files: dict[str, None] = {}
    for index, op in kept:
        yield index, op, tuple(files)
        names = [name for name in (getattr(op, "file", ""), getattr(op, "to", "")) if name]
        if isinstance(op, Remount):
            files.clear()
        elif isinstance(op, Close | Otrunc | Unlink | Rename):
            for name in names:
                files.pop(name, None)
        elif not isinstance(op, Chown):  # the shell does that, and makes no file
            files |= dict.fromkeys(names)


def _problem(op: AnyOp, files: tuple[str, ...] = ()) -> str | None:  # noqa: PLR0911
    """Why xfs_io can't do `op` while `files` are open; None if it can."""
    if isinstance(op, Parallel):
        return "xfs_io has no threads"
    if isinstance(op, DropCaches) and len(files) > len(DESCRIPTORS):
        return f"a shell can hold {len(DESCRIPTORS)} files open"
    numbers = [getattr(op, name, 0) for name in ("off", "len", "size", "dst")]
    if min(numbers) < 0:
        return "xfs_io takes no negative numbers"
    if isinstance(op, Sendfile) and op.dst:
        return "xfs_io's sendfile writes at byte 0 only"
    if isinstance(op, Sendfile) and op.len == 0:
        return "xfs_io's sendfile does not call the kernel for 0 bytes"
    if isinstance(op, MmapWrite | MsyncWrite) and op.len == 0:
        return "xfs_io maps no empty range"
    plain: tuple[type[Op], ...] = (
        *WRITES, *RANGES, Read, MmapWrite, MsyncWrite, Truncate, Fsync, Fdatasync, Sync, Seek,
        CopyRange, Close, Otrunc, DropCaches, Remount, Unlink, Rename, Chown,
    )  # fmt: skip
    return None if isinstance(op, plain) else f"xfs_io has no {op.WORD}"


def _calls_of(op: AnyOp, index: int, files: tuple[str, ...]) -> Iterator[Call]:
    """The line of `op`, before which `files` are open."""
    here = (index,)
    shell = _shell(op, files)
    if shell:
        yield Call(here, shell=shell)
    elif isinstance(op, Sync):
        yield Call(here, commands=("sync",), shell="sync")
    elif isinstance(op, Otrunc):
        yield Call(here, op.file, "t", ("quit",))
    elif isinstance(op, MmapWrite | MsyncWrite):
        yield Call(here, op.file, commands=_stores(op), guard=op.off + op.len)
    elif isinstance(op, CopyRange):
        command = f"copy_range -s {_n(op.off)} -d {_n(op.dst)} -l {_n(op.len)} $D/{op.file}"
        yield Call(here, op.to, commands=(command,))
    elif isinstance(op, Sendfile):
        command = f"sendfile -i $D/{op.file} {_n(op.off)} {_n(op.len)}"
        yield Call(here, op.to, commands=(command,))
    elif isinstance(op, FileOp):
        yield Call(here, op.file, WRITES.get(type(op), ""), (_command(op),))


def _shell(op: AnyOp, files: tuple[str, ...]) -> str:
    """The shell command for what is not about an open file; "" if it is."""
    if isinstance(op, DropCaches):
        held = (f' {fd}<"$D/{name}"' for fd, name in zip(DESCRIPTORS, files, strict=False))
        return "echo 3 > /proc/sys/vm/drop_caches" + "".join(held)
    if isinstance(op, Remount):
        return 'umount "$D" && mount -t ext4 -o noatime,@MOUNT@ "${DEV:?}" "$D"'
    if isinstance(op, Unlink):
        return f'rm "$D/{op.file}"'
    if isinstance(op, Rename):
        return f'mv "$D/{op.file}" "$D/{op.to}"'
    return f'chown {op.uid} "$D/{op.file}"' if isinstance(op, Chown) else ""


def _stores(op: MmapWrite | MsyncWrite) -> tuple[str, ...]:
    start = op.off & ~(PAGE - 1)
    seed = op.tag & 255
    commands = [
        f"mmap -rw {_n(start)} {_n(op.off + op.len - start)}",
        f"mwrite -S {seed} {_n(op.off)} {_n(op.len)}",
    ]
    if isinstance(op, MsyncWrite):
        commands.append("msync -s")
    return (*commands, "munmap")


def _command(op: AnyOp) -> str:
    """The xfs_io command of an operation on one descriptor."""
    if isinstance(op, tuple(WRITES)):
        off = getattr(op, "off", 0)
        buffer = f" -b {_n(op.len)}" if op.len > DEFAULT_BUFFER else ""  # type: ignore[union-attr]
        dsync = " -D" if isinstance(op, DsyncWrite) else ""
        return f"pwrite{dsync} -S {op.tag}{buffer} {_n(off)} {_n(op.len)}"  # type: ignore[union-attr]
    if isinstance(op, Read):
        buffer = f" -b {_n(op.len)}" if op.len > DEFAULT_BUFFER else ""
        return f"pread{buffer} {_n(op.off)} {_n(op.len)}"
    if isinstance(op, Truncate):
        return f"truncate {_n(op.size)}"
    if isinstance(op, tuple(RANGES)):
        return f"{RANGES[type(op)]} {_n(op.off)} {_n(op.len)}"  # type: ignore[union-attr]
    if isinstance(op, Seek):
        return "seek -a -r 0"
    return _PLAIN[type(op)]


_PLAIN: dict[type[Op], str] = {Fsync: "fsync", Fdatasync: "fdatasync", Close: "close"}


def _n(value: int) -> str:
    return format_number(value)
