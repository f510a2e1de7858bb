"""System calls on files as operations of a workload: descriptors, positions, names.

strace logs and syzkaller programs are lists of calls; this is what they have in common.
A file is empty at the beginning of a workload, so what it held before is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workloads.fields import LARGEST_BUFFER, BadValue
from workloads.formats.imported import Builder
from workloads.formats.paths import Elsewhere, Paths
from workloads.formats.sizes import change_sizes
from workloads.ops import Close, Op, Otrunc
from workloads.syntax import WorkloadSyntaxError

__all__ = [
    "AT_FDCWD", "Call", "Description", "Fd", "Handler", "Process", "Table", "Unusable", "signed",
]  # fmt: skip

AT_FDCWD = -100
O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND = 3, 0o100, 0o1000, 0o2000
O_DSYNC, O_DIRECT, O_DIRECTORY, O_CLOEXEC = 0o10000, 0o40000, 0o200000, 0o2000000
O_SYNC, O_PATH, O_TMPFILE = 0o4010000, 0o10000000, 0o20200000


class Fd(int):
    """A descriptor of which the log tells the path (`strace -y`)."""

    path: str | None = None


class Call(msgspec.Struct, frozen=True):
    """A call on line `line`: `args` are numbers, texts, lists, mappings, or None for NULL.

    `result` is what it returned, None if the text does not tell; `error` an errno's name.
    """

    line: int
    text: str
    name: str
    args: tuple[Any, ...]
    result: int | None = None
    error: str | None = None


class Unusable(Exception):
    """This call has no operation; the message says why."""


class Description(msgspec.Struct, eq=False):
    """An open file: `file` is its name, None where no workload has the like (`why`).

    `position` is the offset of read(2) and write(2), None where it is not known.
    `directory` is the path of an open directory.
    """

    file: str | None
    flags: int = 0
    position: int | None = 0
    why: str = ""
    directory: str | None = None

    @property
    def writes(self) -> bool:
        """Whether it can be written to."""
        return self.flags & O_ACCMODE != 0


class Process(msgspec.Struct, eq=False):
    """The descriptors of a process, by number; `closing` ones do not outlive execve(2)."""

    open: dict[int, Description] = {}
    closing: set[int] = set()

    def child(self) -> Process:
        """The descriptors of a child that has a table of its own."""
        return Process(dict(self.open), set(self.closing))


def signed(value: Any) -> int:
    """A 64-bit number as the kernel takes offsets and lengths."""
    number: int = int(value) & (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


class Table:
    """What the calls so far have opened, and the operations that they became."""

    def __init__(self, builder: Builder, paths: Paths) -> None:
        self.builder, self.paths = builder, paths
        self.processes: list[Process] = []
        self.sizes: dict[str, int] = {}
        self.mappings: list[tuple[int, int, Description]] = []

    def new_process(self) -> Process:
        """A process without open files."""
        self.processes.append(Process())
        return self.processes[-1]

    # --- from calls to operations -------------------------------------------------------

    def take(
        self,
        handlers: Mapping[str, Handler],
        process: Process,
        call: Call,
    ) -> None:
        """Add what `call` of `process` did. Raises `WorkloadSyntaxError`."""
        handler = handlers.get(call.name)
        if handler is None:
            self.builder.pass_over(call.name)
            return
        try:
            handler(self, process, call)
        except Unusable as error:
            self.builder.leave_out(call.line, call.text, str(error))
        except Elsewhere:
            self.builder.pass_over(call.name)
        except WorkloadSyntaxError:
            raise
        except BadValue as error:
            column = max(call.text.find('"'), 0) + 1
            self.builder.fail(call.line, str(error), column)
        except (IndexError, TypeError, ValueError):
            self.builder.fail(call.line, f"{call.name} has other arguments; is the line cut?")

    def add(self, call: Call, cls: type[Op], **values: Any) -> None:
        """Append an operation. Raises `Unusable` if a guest has no memory for it."""
        length = values.get("len", 0)
        if length < 0:
            self.builder.fail(call.line, f"{call.name}: the length {length} is negative")
        if length > LARGEST_BUFFER and "dst" not in values and "tag" in cls.__struct_fields__:
            raise Unusable("a buffer beyond 128 MiB does not fit into a guest")
        self.builder.add(call.line, cls, **values)
        change_sizes(self.sizes, self.builder.ops[-1])

    def length(self, call: Call, value: Any) -> int:
        """A length or size. Refuses the text if it is negative."""
        length = signed(value)
        if length < 0:
            self.builder.fail(call.line, f"{call.name}: the length {length} is negative")
        return length

    # --- descriptors --------------------------------------------------------------------

    def file(self, process: Process, call: Call, index: int = 0) -> Description:
        """The open file that argument `index` names.

        Raises `Elsewhere` if it is none of the file system's, `Unusable` if no workload
        has the like, or the call could not work on it.
        """
        found = self.description(process, call.args[index])
        if found is None:
            raise Elsewhere(call.name)
        if found.file is None:
            raise Unusable(found.why)
        if call.error in ("EBADF", "EFAULT", "EINTR", "EAGAIN", "ENOSYS", "EACCES"):
            raise Unusable(f"it failed with {call.error}, before it reached the file")
        return found

    def description(self, process: Process, fd: object) -> Description | None:
        """What `fd` stands for; a path that the log tells helps where it is not known."""
        if not isinstance(fd, int):
            return None
        found = process.open.get(int(fd))
        path = getattr(fd, "path", None)
        if found is None and path is not None and path.startswith("/") and self.paths.root:
            try:
                file = self.paths.name(path)
            except (Elsewhere, BadValue):
                return None
            found = process.open[int(fd)] = Description(file, 2, None)
            self.sizes.setdefault(file, 0)
        return found

    def name(self, process: Process, call: Call, index: int, at: int | None = None) -> str:
        """The file that the path in argument `index` names, from directory `at` on.

        Raises `Elsewhere` or `BadValue`.
        """
        return self.paths.name(self.path(process, call, index, at))

    def path(self, process: Process, call: Call, index: int, at: int | None = None) -> str:
        """The path in argument `index`."""
        path = call.args[index]
        if not isinstance(path, str):
            raise Unusable("the text does not tell the path")
        if at is None or path.startswith("/"):
            return path
        told = getattr(call.args[at], "path", None)
        if call.args[at] == AT_FDCWD:
            return path if told is None else f"{told}/{path}"
        found = process.open.get(call.args[at])
        base = found.directory if found is not None else told
        if base is None:
            raise Unusable("the directory that the path starts from is not known")
        return f"{base}/{path}"

    def open_file(self, process: Process, call: Call, path: str, flags: int) -> None:
        """open(2): `path` becomes the descriptor that the call returned."""
        self.paths.below(path)  # raises if it is none of the file system's
        if call.error is not None:
            raise Unusable(f"it failed with {call.error}")
        description = self._opened(call, path, flags)
        if call.result is not None and call.result >= 0:
            process.open[call.result] = description
            if flags & O_CLOEXEC:
                process.closing.add(call.result)

    def _opened(self, call: Call, path: str, flags: int) -> Description:
        below = self.paths.below(path)
        if (flags & O_DIRECTORY and flags & O_TMPFILE != O_TMPFILE) or not below:
            return Description(None, why="it is a directory", directory=path)
        if flags & O_TMPFILE == O_TMPFILE:
            self.builder.leave_out(call.line, call.text, "a file without a name")
            return Description(None, why="its file has no name")
        if flags & O_PATH:
            return Description(None, why="it was opened with O_PATH")
        if self.paths.is_flattened(path) and self.paths.name(path) not in self.sizes:
            why = "workloads have no directories: the file's name tells its path"
            self.builder.change(call.line, call.text, why)
        file = self.paths.name(path)
        known = file in self.sizes
        if not known and not flags & O_CREAT and call.result is not None:
            why = "the file was there before; here it begins empty"
            self.builder.change(call.line, call.text, why)
        if flags & O_TRUNC and known:
            self.add(call, Otrunc, file=file)
        self.sizes.setdefault(file, 0)
        return Description(file, flags)

    def close(self, process: Process, call: Call, fd: int) -> None:
        """close(2) of `fd`, which says something of its file if it is the last one."""
        found = process.open.pop(fd, None)
        process.closing.discard(fd)
        if found is None or found.file is None:
            self.builder.pass_over(call.name)
        elif self.users(found.file):
            raise Unusable("the file is open by another descriptor, too")
        else:
            self.add(call, Close, file=found.file)

    def users(self, file: str) -> int:
        """How many descriptors of `file` are open."""
        return sum(
            found.file == file for process in self.processes for found in process.open.values()
        )

    def end(self, process: Process, line: int) -> None:
        """`process` ends, and with it its descriptors."""
        call = Call(line, "exit", "exit", ())
        for fd in list(process.open):
            try:
                self.close(process, call, fd)
            except Unusable:
                continue
        self.processes.remove(process)

    def forget(self, file: str, why: str) -> None:
        """`file` is gone: what is still open of it has no name any more."""
        for process in self.processes:
            for found in process.open.values():
                if found.file == file:
                    found.file, found.why = None, why
        self.sizes.pop(file, None)

    def renamed(self, file: str, to: str) -> None:
        """What is open of `file` is called `to` now."""
        for process in self.processes:
            for found in process.open.values():
                if found.file == file:
                    found.file = to


Handler = Callable[[Table, Process, Call], None]
"""Adds what a call of a process did to the table. Raises `Unusable`, `Elsewhere` or `BadValue`."""
