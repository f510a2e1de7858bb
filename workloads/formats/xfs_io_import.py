"""Scripts of xfs_io commands as a workload: shell scripts, and what xfs_io reads from stdin.

Followed are calls of xfs_io and of the few other commands that change files, with shell
variables that the script sets to plain words. `$SCRATCH_MNT`, `$TEST_DIR` and `$D` stand
for the mounted file system.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable

from workloads.fields import BadValue, parse_number
from workloads.formats.heads import program_of
from workloads.formats.imported import Builder, Imported
from workloads.formats.paths import Elsewhere, Paths
from workloads.formats.shell import Statement, statements
from workloads.formats.xfs_io_session import XfsIo
from workloads.formats.xfs_io_words import CONTENT, END
from workloads.ops import (
    Chown,
    Close,
    DropCaches,
    Remount,
    Rename,
    Sync,
    Truncate,
    Unlink,
)

__all__ = ["read_script"]

_ROOT = "/@root@"
_ROOT_VARIABLES = ("SCRATCH_MNT", "TEST_DIR", "D")
_SET_UP = ("_require", "_begin", "_supported", "_exclude", "_scratch_mkfs", "_fixed_by", "_notrun")
"""What functions of fstests that prepare a test begin with."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_XFS_IO = re.compile(r"(?:.*/)?xfs_io|\$\{?XFS_IO_PROG\}?")
_CHANGES_FILES = re.compile(
    r"xfs_io|XFS_IO|\b(?:truncate|rm|mv|cp|dd|fallocate|touch|sync|umount|mount)\b|>\s*\S*[$/]"
)
_HARMLESS = frozenset({
    "echo", "set", "export", ".", "source", "trap", "exit", "return", "shift", "stat", "ls",
    "cat", "md5sum", "cmp", "diff", "test", "[", "filefrag", "hexdump", "od", "xxd", "sleep",
    "true", "false", "mkdir", ":", "read", "printf", "grep", "sed", "awk",
})  # fmt: skip
"""Shell commands that change no file by themselves."""


def read_script(text: str, name: str, file: str, paths: Paths | None = None) -> Imported:
    """The workload of a script; `file` is how errors call it; `paths` knows where the file
    system was mounted.

    Raises `WorkloadSyntaxError` at commands that xfs_io does not know or would refuse, at
    files outside of the root, and at loops and conditions around what changes files.
    """
    lines = text.splitlines()
    ours = program_of(lines)
    if ours is not None:
        text = text.partition(f"\n{END}\n")[0]
    reader = _Reader(Builder(name, file), paths or Paths(), closes=ours is None)
    if "xfs_io" in text or "XFS_IO" in text:
        for statement in statements(text, file):
            reader.statement(statement)
    else:
        reader.session(lines)
    return reader.builder.build(ours, max(len(lines), 1), CONTENT)


class _Reader:
    """Follows a script; xfs_io `closes` its files when it ends, unless we exported it."""

    def __init__(self, builder: Builder, paths: Paths, *, closes: bool) -> None:
        self.builder, self._paths = builder, paths
        self._xfs_io = XfsIo(builder, self._expand, self._name, closes=closes)
        self._values: dict[str, str | None] = {"XFS_IO_PROG": "xfs_io", "seq": "seq"}
        self._functions: set[str] = set()
        self._unmounted = False

    def session(self, lines: list[str]) -> None:
        """What xfs_io reads from stdin, without a script around it."""
        self._xfs_io.session(1, lines, [])

    def statement(self, statement: Statement) -> None:
        """Follow one statement."""
        if statement.block.startswith("function "):
            self._functions.add(statement.block.split()[1])
            self.builder.leave_out(statement.line, statement.block, "a function's body")
            return
        if statement.block:
            self._block(statement)
            return
        words = list(statement.words)
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            self._assign(match[1], match[2])
            words.pop(0)
        while words and words[0] in ("!", "run", "sudo", "_user_do"):
            words.pop(0)
        if words:
            self._command(statement, words)

    def _block(self, statement: Statement) -> None:
        if _CHANGES_FILES.search(statement.text):
            self.builder.fail(
                statement.line,
                f"{statement.block} around commands that change files is not followed;"
                " write the commands out, one after the other",
            )
        self.builder.leave_out(statement.line, statement.block, "a block that changes no file")

    def _assign(self, variable: str, value: str) -> None:
        if variable in _ROOT_VARIABLES:
            return
        plain = not re.search(r"[`(]", value)
        try:
            self._values[variable] = self._expand(value) if plain else None
        except BadValue:
            self._values[variable] = None

    def _expand(self, word: str) -> str:
        """`word` with variables replaced. Raises `BadValue` for those that are not known."""
        if "`" in word or "$(" in word:
            raise BadValue(f'"{word}" is computed by the shell; write its value')

        def value(match: re.Match[str]) -> str:
            variable = match[1] or match[2] or match[3]
            if variable in _ROOT_VARIABLES:
                return _ROOT
            known = "pid" if variable == "$" else self._values.get(variable)
            if known is None:
                raise BadValue(f"this script does not say what ${variable} is; write its value")
            return known

        return _VARIABLE.sub(value, word)

    def _command(self, statement: Statement, words: list[str]) -> None:
        if _XFS_IO.fullmatch(words[0]):
            self._xfs_io.call(statement, words)
        elif words[0] in self._functions:
            self.builder.fail(
                statement.line, f"the function {words[0]} is not followed; write its commands out"
            )
        elif statement.into == "/proc/sys/vm/drop_caches":
            self.builder.add(statement.line, DropCaches)
        elif words[0] in _FILE_COMMANDS:
            self._on_files(statement, words)
        elif words[0].startswith(_SET_UP) or (
            words[0] in _HARMLESS and not self._into_root(statement)
        ):
            self.builder.pass_over(words[0])
        else:
            self.builder.leave_out(
                statement.line, " ".join(words), f"the shell's {words[0]} is not followed"
            )

    def _into_root(self, statement: Statement) -> bool:
        try:
            return _ROOT in self._expand(statement.into)
        except BadValue:
            return False

    def _on_files(self, statement: Statement, words: list[str]) -> None:
        try:
            expanded = [self._expand(word) for word in words]
            _FILE_COMMANDS[words[0]](self, statement, expanded)
        except BadValue as error:
            self.builder.fail(statement.line, str(error), statement.column(words[0]))
        except Elsewhere as error:
            self.builder.leave_out(statement.line, " ".join(words), f"{error} is elsewhere")

    def _name(self, path: str) -> str:
        if path.startswith(_ROOT):
            return self._paths.name(path[len(_ROOT) :].lstrip("/") or ".")
        return self._paths.name(path)

    def _truncate(self, statement: Statement, words: list[str]) -> None:
        pairs, files = getopt.gnu_getopt(words[1:], "cs:")
        sizes = [value for letter, value in pairs if letter == "-s"]
        if not sizes or not re.fullmatch(r"[0-9]+[kKmMgGtT]?", sizes[0]):
            raise BadValue("truncate needs -s SIZE here; other forms are not followed")
        for path in files:
            size = parse_number(sizes[0])
            self.builder.add(statement.line, Truncate, file=self._name(path), size=size)
            self.builder.add(statement.line, Close, file=self._name(path))

    def _rm(self, statement: Statement, words: list[str]) -> None:
        for path in (word for word in words[1:] if not word.startswith("-")):
            self.builder.add(statement.line, Unlink, file=self._name(path))

    def _mv(self, statement: Statement, words: list[str]) -> None:
        paths = [word for word in words[1:] if not word.startswith("-")]
        if len(paths) != 2:
            raise BadValue("mv takes a file and its new name here")
        self.builder.add(statement.line, Rename, file=self._name(paths[0]), to=self._name(paths[1]))

    def _chown(self, statement: Statement, words: list[str]) -> None:
        if len(words) != 3 or not words[1].isdigit():
            raise BadValue("chown takes a user's number and a file here")
        self.builder.add(statement.line, Chown, file=self._name(words[2]), uid=int(words[1]))

    def _sync(self, statement: Statement, words: list[str]) -> None:
        self.builder.add(statement.line, Sync)
        if len(words) > 1:
            self.builder.change(statement.line, " ".join(words), "became sync(2)")

    def _umount(self, _statement: Statement, _words: list[str]) -> None:
        self._unmounted = True

    def _mount(self, statement: Statement, words: list[str]) -> None:
        if self._unmounted:
            self._unmounted = False
            self.builder.add(statement.line, Remount)
        else:
            why = "the configuration says how it is mounted (`on:`)"
            self.builder.leave_out(statement.line, " ".join(words), why)

    def _cycle(self, statement: Statement, _words: list[str]) -> None:
        self.builder.add(statement.line, Remount)


_FILE_COMMANDS: dict[str, Callable[[_Reader, Statement, list[str]], None]] = {
    "truncate": _Reader._truncate,
    "rm": _Reader._rm,
    "mv": _Reader._mv,
    "chown": _Reader._chown,
    "sync": _Reader._sync,
    "umount": _Reader._umount,
    "mount": _Reader._mount,
    "_scratch_unmount": _Reader._umount,
    "_scratch_mount": _Reader._mount,
    "_scratch_cycle_mount": _Reader._cycle,
    "_test_cycle_mount": _Reader._cycle,
}
