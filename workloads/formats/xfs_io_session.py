"""A session of xfs_io: the files that it has open, and its commands, from `-c` or stdin."""

from __future__ import annotations

import getopt
from collections.abc import Callable

from workloads.fields import BadValue
from workloads.formats.imported import Builder
from workloads.formats.paths import Elsewhere
from workloads.formats.shell import Statement
from workloads.formats.xfs_io_commands import COMMANDS, ONESHOT, Handle, Place, run_command
from workloads.ops import Close, Otrunc

__all__ = ["XfsIo"]


class XfsIo:
    """Adds what sessions do to `builder`.

    `expand` replaces the shell's variables in a word, `name_of` gives the workload's name of
    a path; both raise `BadValue`, and `name_of` `Elsewhere`. Unless it `closes` its files, the
    end of a session means nothing: so in scripts that we exported.
    """

    def __init__(
        self, builder: Builder, expand: Callable[[str], str], name_of: Callable[[str], str],
        *, closes: bool,
    ) -> None:  # fmt: skip
        self._builder, self._expand, self._name_of = builder, expand, name_of
        self._closes = closes

    def call(self, statement: Statement, words: list[str]) -> None:
        """A call of xfs_io in a script: `words` are what the shell gives it."""
        try:
            pairs, paths = getopt.getopt(words[1:], "ac:C:dFfiLm:p:PnrRstTVx")
        except getopt.GetoptError as error:
            self._builder.fail(statement.line, f"xfs_io: {error.msg}; see xfs_io(8)")
        flags = "".join(letter[1:] for letter, _ in pairs if letter not in ("-c", "-C", "-m", "-p"))
        handles = [self._open(statement, path, flags) for path in paths]
        commands = [(letter == "-C", value) for letter, value in pairs if letter in ("-c", "-C")]
        if not commands:
            self.session(statement.line + 1, list(statement.lines), handles)
            return
        open_files = list(handles)
        for once, command in commands:
            column = statement.column(command)
            text = self._expand_command(statement, command, column)
            if not text.strip():
                continue
            alone = once or text.split(None, 1)[0] in ONESHOT
            on: list[Handle | None] = [*(open_files[-1:] if alone else open_files)]
            for handle in on or [None]:
                self._run(statement.line, column, text, handle, open_files)
        self._end(statement.line, open_files)

    def session(self, first: int, lines: list[str], handles: list[Handle]) -> None:
        """What xfs_io reads from stdin: a command a line, on the file opened last."""
        open_files = list(handles)
        for number, line in enumerate(lines, first):
            if line.strip() and not line.startswith("#"):
                handle = open_files[-1] if open_files else None
                text = self._expand_command(Statement(number, line, ()), line, 1)
                self._run(number, 1, text, handle, open_files)
        self._end(first + len(lines) - 1, open_files)

    def _expand_command(self, statement: Statement, command: str, column: int) -> str:
        try:
            return self._expand(command)
        except BadValue as error:
            self._builder.fail(statement.line, str(error), column)

    def _end(self, line: int, open_files: list[Handle]) -> None:
        """xfs_io ends, which closes its files."""
        if self._closes:
            for name in dict.fromkeys(handle.file for handle in open_files):
                self._builder.add(line, Close, file=name)

    def _open(self, statement: Statement, path: str, flags: str) -> Handle:
        try:
            handle = Handle(self._name_of(self._expand(path)), flags)
        except BadValue as error:
            self._builder.fail(statement.line, str(error), statement.column(path))
        except Elsewhere as error:
            problem = f"{error} is outside of the mounted file system; workloads stay inside"
            self._builder.fail(statement.line, problem, statement.column(path))
        if "t" in flags:
            self._builder.add(statement.line, Otrunc, file=handle.file)
        if set(flags) & set("TPR"):
            problem = "files without a name, paths and realtime files are not followed"
            self._builder.fail(statement.line, problem, statement.column(path))
        return handle

    def _run(
        self, line: int, column: int, text: str, handle: Handle | None, open_files: list[Handle]
    ) -> None:
        words = text.split()
        if not words or words[0] in ("quit", "q"):
            return
        statement = Statement(line, text, tuple(words))
        place = Place(self._builder, line, column, text, self._name_of)
        if words[0] in ("open", "o"):
            self._open_command(statement, words, open_files)
        elif words[0] not in COMMANDS and words[0] not in ("close", "c"):
            run_command(place, Handle(""), words)  # says that there is no such command
        elif handle is None:
            self._builder.fail(line, f"{words[0]} needs an open file; name one or open it", column)
        elif words[0] in ("close", "c"):
            open_files.remove(handle)
            self._builder.add(line, Close, file=handle.file)
        elif words[0] in ("file", "f") and len(words) > 1:
            self._builder.fail(line, "file N is not followed; open the file by its name", column)
        else:
            try:
                run_command(place, handle, words)
            except (BadValue, Elsewhere) as error:
                self._builder.fail(line, str(error), column)

    def _open_command(
        self, statement: Statement, words: list[str], open_files: list[Handle]
    ) -> None:
        try:
            pairs, paths = getopt.getopt(words[1:], "acdfFLm:nPrRstTx")
        except getopt.GetoptError as error:
            self._builder.fail(statement.line, f"open: {error.msg}; see xfs_io(8)")
        flags = "".join(letter[1:] for letter, _ in pairs if letter != "-m")
        open_files += [self._open(statement, path, flags) for path in paths]
