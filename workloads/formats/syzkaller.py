"""syzkaller programs as workloads: the calls on files among them.

The syntax is that of docs/program_syntax.md in syzkaller's sources. A program does not say
what its calls return, so they are taken to succeed, and positions follow from that.
"""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from workloads.formats.imported import Builder, Imported
from workloads.formats.numbers import c_number
from workloads.formats.paths import Paths
from workloads.formats.syscall_table import CALLS
from workloads.formats.syscalls import Call, Process, Table

__all__ = ["CONTENT", "read_syzkaller"]

CONTENT = "writes hold the workload's own patterns, not the program's data"

_GRAMMAR = Lark(
    r"""
    start: [VARIABLE "="] NAME "(" [argument ("," argument)*] ")" ["(" property ("," property)* ")"]
    property: WORD [":" INTEGER]
    ?argument: "nil"              -> nothing
             | "AUTO"             -> nothing
             | INTEGER            -> integer
             | VARIABLE ["/" INTEGER] ["+" INTEGER] -> resource
             | "<" VARIABLE "=>" argument           -> result
             | "&" address ["=" ["ANY" "="] argument] -> pointer
             | TEXT ["/" INTEGER] -> text
             | HEX ["/" INTEGER]  -> hexadecimal
             | BASE64 ["/" INTEGER] -> packed
             | "{" [argument ("," argument)*] "}" -> group
             | "[" [argument ("," argument)*] "]" -> group
             | "@" WORD ["=" argument] -> union
    address: "AUTO" | "(" INTEGER ["/" INTEGER] ")"
    VARIABLE.2: /r[0-9]+(?![A-Za-z0-9_$])/
    NAME: /[A-Za-z_][A-Za-z0-9_]*(\$[A-Za-z0-9_]+)?/
    WORD: /[A-Za-z_][A-Za-z0-9_]*/
    INTEGER: /0x[0-9a-fA-F]+|-?[0-9]+/
    TEXT: /'(\\.|[^'\\])*'/
    HEX: /"[^"$][^"]*"|""/
    BASE64: /"\$[^"]*"/
    %ignore /[ \t]+/
    """,
    parser="lalr",
    lexer="contextual",
    maybe_placeholders=True,
)

_AT_FDCWD = (0xFFFFFFFFFFFFFF9C, 0xFFFFFF9C)


class _Variable(NamedTuple):
    """The resource `r0` as an argument."""

    name: str


class _Memory(NamedTuple):
    """A pointer: the address, None for AUTO, and what is put there."""

    address: int | None
    value: Any


class _Call(NamedTuple):
    """One line of a program; `asynchronous` ones do not wait."""

    variable: str | None
    name: str
    args: tuple[Any, ...]
    properties: tuple[str, ...]


class _Values(Transformer[Token, Any]):
    """What the grammar's parts stand for."""

    def start(self, parts: list[Any]) -> _Call:
        variable, name, *rest = parts
        args = tuple(part for part in rest if not isinstance(part, _Property))
        properties = tuple(str(part) for part in rest if isinstance(part, _Property))
        if args == (None,):
            args = ()
        return _Call(None if variable is None else str(variable), str(name), args, properties)

    def property(self, parts: list[Any]) -> str:
        return _Property(parts[0])

    def nothing(self, _parts: list[Any]) -> None:
        return None

    def integer(self, parts: list[Any]) -> int:
        return c_number(str(parts[0]))

    def resource(self, parts: list[Any]) -> _Variable:
        return _Variable(str(parts[0]))

    def result(self, parts: list[Any]) -> Any:
        return parts[1]

    def address(self, parts: list[Any]) -> int | None:
        return c_number(str(parts[0])) if parts and parts[0] is not None else None

    def pointer(self, parts: list[Any]) -> _Memory:
        return _Memory(parts[0], parts[1] if len(parts) > 1 else None)

    def text(self, parts: list[Any]) -> str:
        body = str(parts[0])[1:-1]
        return re.sub(r"\\x([0-9a-fA-F]{2})|\\(.)", _character, body)

    def hexadecimal(self, parts: list[Any]) -> str | None:
        try:
            return bytes.fromhex(str(parts[0])[1:-1]).decode("latin-1")
        except ValueError:
            return None

    def packed(self, parts: list[Any]) -> str | None:
        try:
            return base64.b64decode(str(parts[0])[2:-1]).decode("latin-1")
        except ValueError:
            return None

    def group(self, parts: list[Any]) -> list[Any]:
        return [] if parts == [None] else parts

    def union(self, parts: list[Any]) -> Any:
        return parts[1]


class _Property(str):
    """A call's property, to be told from an argument."""

    __slots__ = ()


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}.get(
        match[2], match[2]
    )


def read_syzkaller(text: str, name: str, file: str, paths: Paths | None = None) -> Imported:
    """The workload of a program; `paths` knows where the file system was mounted.

    Raises `WorkloadSyntaxError` where the text is no program, for negative lengths, and for
    files outside of the root.
    """
    lines = text.splitlines()
    reader = _Reader(Builder(name, file), paths or Paths())
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            reader.line(number, line)
    return reader.builder.build(None, max(len(lines), 1), CONTENT)


class _Reader:
    """Follows a program. Its descriptors are numbered from 3 on, as syz-executor's are."""

    def __init__(self, builder: Builder, paths: Paths) -> None:
        self.builder, self._paths = builder, paths
        self._table = Table(builder, paths)
        self._process: Process = self._table.new_process()
        self._values = _Values()
        self._variables: dict[str, int] = {}
        self._memory: dict[int, Any] = {}

    def line(self, number: int, line: str) -> None:
        """Follow one line. Raises `WorkloadSyntaxError`."""
        code = re.sub(r"\)\s*#.*$", ")", line)
        try:
            call = self._values.transform(_GRAMMAR.parse(code))
        except UnexpectedInput as error:
            self._refuse(number, code, error)
        except VisitError as error:
            self.builder.fail(number, f"the call can't be read: {error.orig_exc}")
        assert isinstance(call, _Call)
        for argument in call.args:
            self._store(argument)
        base = call.name.partition("$")[0]
        if base == "syz_mount_image":
            self._mounted(number, line, call)
            return
        for what in call.properties:
            self.builder.change(number, line, f"the property {what} is left out")
        result = self._next() if base in ("open", "openat", "openat2", "creat", "dup") else None
        args = tuple(self._plain(argument) for argument in call.args)
        taken = Call(number, line, base, args, result)
        if result is not None:
            taken = Call(number, line, base, args, result, None)
        self._table.take(CALLS, self._process, taken)
        if call.variable is not None and result is not None:
            self._variables[call.variable] = result

    def _refuse(self, number: int, line: str, error: UnexpectedInput) -> None:
        column = max(error.column, 1)
        problem = f'"{line[column - 1 : column + 19]}" is not expected here'
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            column, problem = len(line) + 1, "the line ends in the middle of a call"
        self.builder.fail(
            number, f"{problem}; is this a syzkaller program, and is it whole?", column
        )

    def _next(self) -> int:
        fd = 3
        while fd in self._process.open:
            fd += 1
        return fd

    def _store(self, value: Any) -> None:
        """Remember what a call's arguments put into memory: later ones may point there."""
        if isinstance(value, _Memory):
            if value.address is not None and value.value is not None:
                self._memory[value.address] = value.value
            self._store(value.value)
        elif isinstance(value, list):
            for each in value:
                self._store(each)

    def _plain(self, value: Any) -> Any:
        """An argument as `syscalls.Call` wants it: no pointers, no variables."""
        if isinstance(value, _Variable):
            return self._variables.get(value.name, -1)
        if isinstance(value, _Memory):
            behind = value.value
            if behind is None and value.address is not None:
                behind = self._memory.get(value.address, value.address)
            behind = self._plain(behind)
            return [behind] if isinstance(behind, int) else behind
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, str):
            return value.partition("\0")[0]
        if isinstance(value, int) and value in _AT_FDCWD:
            return -100
        return value

    def _mounted(self, number: int, line: str, call: _Call) -> None:
        """syz_mount_image: from here on its directory is the file system."""
        directory = self._plain(call.args[1]) if len(call.args) > 1 else None
        enters = len(call.args) > 4 and bool(self._plain(call.args[4]))
        self.builder.leave_out(
            number, line[:40], "the image: the workload runs on ours (`on:` says which)"
        )
        if isinstance(directory, str) and not enters:
            self._paths.mounted_at(directory)
