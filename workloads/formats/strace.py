"""strace logs as workloads: the calls of a real application on the files of one directory.

Followed are `strace -f` with process ids, unfinished and resumed calls, what -y adds to
descriptors, and any of strace's times. The arguments of the calls that matter are read by
a grammar; of all other calls only the name counts.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, VisitError

from workloads.formats.imported import Builder, Imported
from workloads.formats.numbers import c_number
from workloads.formats.paths import Paths
from workloads.formats.syscall_table import CALLS
from workloads.formats.syscalls import Call, Fd, Process, Table

__all__ = ["CONTENT", "read_strace"]

CONTENT = "writes hold the workload's own patterns, not what the application wrote"

_ARGUMENTS = Lark(
    r"""
    start: [argument ("," argument)*]
    ?argument: value ["=>" value]
    ?value: NUMBER note?             -> number
          | STRING ELLIPSIS?         -> string
          | words note?
          | "[" [item ("," item)*] "]" -> array
          | "{" [item ("," item)*] "}" -> struct
          | CALLED                   -> unknown
          | ELLIPSIS                 -> unknown
    words: WORD ("|" (WORD | NUMBER))*
         | NUMBER ("|" (WORD | NUMBER))+
    ?item: WORD "=" value -> field
         | argument
    note: NOTE
    NUMBER: /-?(0x[0-9a-f]+|[0-9]+)/
    STRING: /@?"(\\.|[^"\\])*"/
    WORD: /[A-Za-z_][A-Za-z0-9_]*/
    CALLED: /[A-Za-z_]\w*\([^()]*\)|~?\[[A-Z][A-Z_0-9 ]*\]/
    NOTE: /<[^<>]*(<[^<>]*>[^<>]*)*>/
    ELLIPSIS: "..."
    COMMENT: /\/\*.*?\*\//
    %ignore COMMENT
    %ignore /\s+/
    """,
    parser="lalr",
    maybe_placeholders=False,
)

_FLAGS = {
    "AT_FDCWD": -100, "NULL": None,
    "O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2, "O_CREAT": 0o100, "O_EXCL": 0o200,
    "O_NOCTTY": 0o400, "O_TRUNC": 0o1000, "O_APPEND": 0o2000, "O_NONBLOCK": 0o4000,
    "O_DSYNC": 0o10000, "O_ASYNC": 0o20000, "O_DIRECT": 0o40000, "O_LARGEFILE": 0o100000,
    "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000, "O_NOATIME": 0o1000000,
    "O_CLOEXEC": 0o2000000, "O_SYNC": 0o4010000, "O_PATH": 0o10000000, "O_TMPFILE": 0o20200000,
    "SEEK_SET": 0, "SEEK_CUR": 1, "SEEK_END": 2, "SEEK_DATA": 3, "SEEK_HOLE": 4,
    "FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2, "FALLOC_FL_NO_HIDE_STALE": 4,
    "FALLOC_FL_COLLAPSE_RANGE": 8, "FALLOC_FL_ZERO_RANGE": 0x10,
    "FALLOC_FL_INSERT_RANGE": 0x20, "FALLOC_FL_UNSHARE_RANGE": 0x40,
    "FALLOC_FL_WRITE_ZEROES": 0x80,
    "SYNC_FILE_RANGE_WAIT_BEFORE": 1, "SYNC_FILE_RANGE_WRITE": 2,
    "SYNC_FILE_RANGE_WAIT_AFTER": 4,
    "PROT_NONE": 0, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4,
    "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_SHARED_VALIDATE": 3,
    "MS_ASYNC": 1, "MS_INVALIDATE": 2, "MS_SYNC": 4,
    "F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4,
    "F_DUPFD_CLOEXEC": 1030,
    "RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "AT_REMOVEDIR": 0x200,
    "AT_EMPTY_PATH": 0x1000, "RWF_HIPRI": 1, "RWF_DSYNC": 2, "RWF_SYNC": 4, "RWF_NOWAIT": 8,
    "RWF_APPEND": 16, "CLONE_FILES": 0x400,
}  # fmt: skip
"""The values of the words that matter, as on x86-64; others count as no bit."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0].isdigit() else _ESCAPES.get(code, code)

    return re.sub(r"\\(x[0-9a-f]{2}|[0-7]{1,3}|.)", one, text)


class _Values(Transformer[Token, Any]):
    """What the grammar's parts stand for."""

    def start(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    def argument(self, parts: list[Any]) -> Any:
        return parts[0]  # `in => out`: the call was given the first

    def number(self, parts: list[Any]) -> Any:
        return _annotated(c_number(str(parts[0])), parts[1:])

    def string(self, parts: list[Any]) -> Any:
        if len(parts) > 1:
            return None  # shortened; only data are, and only their length matters
        return _unescaped(str(parts[0]).removeprefix("@")[1:-1])

    def words(self, parts: list[Any]) -> Any:
        values = [
            c_number(str(part)) if re.match(r"-?\d", str(part)) else _FLAGS.get(str(part), 0)
            for part in parts
            if part.type in ("WORD", "NUMBER")
        ]
        if values == [None]:
            return None
        value = 0
        for each in values:
            value |= each or 0
        return value

    def value(self, parts: list[Any]) -> Any:
        return _annotated(parts[0], parts[1:])

    def array(self, parts: list[Any]) -> list[Any]:
        return parts

    def struct(self, parts: list[Any]) -> Any:
        return dict(part for part in parts if isinstance(part, tuple))

    def field(self, parts: list[Any]) -> tuple[str, Any]:
        return str(parts[0]), parts[1]

    def note(self, parts: list[Any]) -> str:
        return str(parts[0])[1:-1]

    def unknown(self, _parts: list[Any]) -> None:
        return None


def _annotated(value: Any, notes: list[Any]) -> Any:
    if not notes or not isinstance(value, int):
        return value
    fd = Fd(value)
    fd.path = re.sub(r"<char .*|<block .*|\(deleted\)$", "", notes[0])
    return fd


# --- lines ---------------------------------------------------------------------------------

_LINE = re.compile(
    r"(?:\[pid\s+(?P<bracketed>\d+)\]\s+|(?P<pid>\d+)\s+)?"
    r"(?:\d\d:\d\d:\d\d(?:\.\d+)?\s+|\s*\d+\.\d+\s+)?(?P<rest>.*)"
)
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(\w+\(.*?)\s*<unfinished \.\.\.>(?:\)\s+= \?.*)?$")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"(-?(?:0x[0-9a-f]+|\d+)|\?)(?:<[^>]*>)?(?:\s+(E[A-Z0-9]+))?(?:\s|$)")
_OUTSIDE = re.compile(r"--- .* ---|strace: .*|\s*")
_EXIT = re.compile(r"\+\+\+ (?:exited with \d+|killed by \w+.*) \+\+\+")
_FORKS = ("clone", "clone3", "fork", "vfork")


class _Started(NamedTuple):
    """A call that is not finished yet: the line it began on, its process, its text."""

    line: int
    text: str


def read_strace(text: str, name: str, file: str, paths: Paths | None = None) -> Imported:
    """The workload of a log; `paths` knows where the file system was mounted.

    Calls on files outside of it are passed over. Raises `WorkloadSyntaxError` for a log
    that is cut, for negative lengths and for paths that leave the root by `..`.
    """
    reader = _Reader(Builder(name, file), paths or Paths())
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        problem = "the last line has no end: the log was cut; give a whole log"
        reader.builder.fail(len(lines), problem)
    for number, line in enumerate(lines, 1):
        reader.line(number, line)
    reader.end(len(lines))
    return reader.builder.build(None, max(len(lines), 1), CONTENT)


class _Reader:
    """Follows a log."""

    def __init__(self, builder: Builder, paths: Paths) -> None:
        self.builder = builder
        self._table = Table(builder, paths)
        self._processes: dict[str, Process] = {}
        self._started: dict[str, _Started] = {}
        self._values = _Values()

    def line(self, number: int, line: str) -> None:
        """Follow one line."""
        match = _LINE.fullmatch(line)
        assert match is not None
        pid = match["bracketed"] or match["pid"] or ""
        rest = match["rest"]
        if _OUTSIDE.fullmatch(rest):
            return
        if _EXIT.fullmatch(rest):
            self._started.pop(pid, None)
            self._ended(pid, number)
        elif resumed := _RESUMED.fullmatch(rest):
            started = self._started.pop(pid, None)
            if started is None:
                self.builder.fail(
                    number, f"{resumed[1]} is resumed and did not begin: the log's begin is missing"
                )
            self._whole(started.line, pid, started.text + resumed[2])
        elif unfinished := _UNFINISHED.fullmatch(rest):
            self._process(pid)
            self._started[pid] = _Started(number, unfinished[1])
        else:
            self._whole(number, pid, rest)

    def end(self, last: int) -> None:
        """The log ends. Refuses it if a call is still under way."""
        for pid, started in self._started.items():
            name = started.text.split("(")[0]
            if name in CALLS:
                self.builder.fail(
                    started.line,
                    f"{name} of process {pid or '?'} never ends: the log was cut at line {last}",
                )

    def _whole(self, number: int, pid: str, text: str) -> None:
        match = _CALL.fullmatch(text)
        if match is None:
            self.builder.fail(
                number, f'"{text[:40]}" is no line of strace; is the log cut there?', 1
            )
        name, arguments, told = match.groups()
        process = self._process(pid)
        result = _RESULT.match(told)
        if result is None:
            self.builder.fail(number, f'"{told[:40]}" is no result; is the log cut there?')
        try:
            value = None if result[1] == "?" else c_number(result[1])
        except ValueError:
            self.builder.fail(number, f'"{told[:40]}" is no result; is the log cut there?')
        if name in _FORKS and value is not None and value > 0:
            shared = "CLONE_FILES" in arguments
            self._forked(str(value), process, shared)
        elif name == "execve" and value == 0:
            for fd in process.closing:
                process.open.pop(fd, None)
            process.closing.clear()
        if name not in CALLS:
            self.builder.pass_over(name)
            return
        args = self._arguments(number, text, arguments)
        self._table.take(CALLS, process, Call(number, text, name, args, value, result[2]))

    def _arguments(self, number: int, text: str, arguments: str) -> tuple[Any, ...]:
        try:
            values = self._values.transform(_ARGUMENTS.parse(arguments))
        except UnexpectedInput as error:
            called = text.partition("(")[0]
            column = len(called) + 1 + max(error.column, 1)
            self.builder.fail(
                number, f"the arguments of {called} can't be read from here on", column
            )
        except VisitError as error:
            called = text.partition("(")[0]
            problem = error.orig_exc
            self.builder.fail(number, f"the arguments of {called} can't be read: {problem}")
        assert isinstance(values, tuple)
        return values

    # --- processes ----------------------------------------------------------------------

    def _process(self, pid: str) -> Process:
        """The process `pid`; one that was not announced is the child of a fork under way."""
        if pid not in self._processes:
            parents = [
                (parent, started.text)
                for parent, started in self._started.items()
                if started.text.startswith(_FORKS)
            ]
            if parents:
                parent, text = parents[-1]
                self._forked(pid, self._processes[parent], "CLONE_FILES" in text)
            else:
                # Lines without a pid are those of the one process before the first fork.
                first = self._processes.get("") if len(self._processes) == 1 else None
                self._processes[pid] = first or self._table.new_process()
        return self._processes[pid]

    def _forked(self, pid: str, parent: Process, shared: bool) -> None:
        if pid in self._processes:
            return
        self._processes[pid] = parent
        if not shared:
            self._processes[pid] = parent.child()
            self._table.processes.append(self._processes[pid])

    def _ended(self, pid: str, number: int) -> None:
        process = self._processes.pop(pid, None)
        if process is not None and not any(other is process for other in self._processes.values()):
            self._table.end(process, number)
