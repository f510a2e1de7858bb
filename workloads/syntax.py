"""The text form of workloads: what a `.ops` file or a line of operations says.

    show: what this program would catch, in one line
    on: 4k@delalloc 1k@delalloc

    pwrite a 0 8k      # comments and blank lines are free
    fpunch a 4k 4k

`parse(format_program(p), p.name) == p` for every program. The grammar is described for
people in `docs/workloads.md`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn, cast

from workloads.fields import BadValue, fields_of, format_number, parse_number, usage
from workloads.images import DEVICE_SIZE, IMAGES, KEPT, Image
from workloads.ops import BY_WORD, AnyOp, Call, Op, Parallel
from workloads.program import DEFAULT, Note, Program, workloads
from workloads.sections import AND, END, default_tag, problem
from workloads.writing import format_line, format_op, format_program

__all__ = [
    "SUFFIX", "Program", "WorkloadSyntaxError", "format_line", "format_op", "format_program",
    "parse", "parse_line", "usage", "workloads",
]  # fmt: skip

SUFFIX = ".ops"
"""What names of workload files end with."""

SMALLEST_IMAGE = 1024 * 1024
HEADERS = ("show", "on", "rules", "size")
_HEADER = re.compile(r"\s*([A-Za-z_]+)\s*:(.*)", re.DOTALL)
_TOKEN = re.compile(r"\S+")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MOUNT = re.compile(r"[A-Za-z0-9_=.-]+(?:,[A-Za-z0-9_=.-]+)*")
_RULE = re.compile(r"[A-Za-z0-9_.:-]+")


class WorkloadSyntaxError(ValueError):
    """A workload's text is not what the grammar allows.

    `line` and `column` count from 1; `problem` says what is wrong and what to write.
    """

    def __init__(self, file: str, line: int, column: int, problem: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {problem}")
        self.file = file
        self.line = line
        self.column = column
        self.problem = problem


class _Piece(NamedTuple):
    """A part of the text and where it stands; `column` counts from 0."""

    file: str
    line: int
    column: int
    text: str

    def fail(self, problem: str) -> NoReturn:
        raise WorkloadSyntaxError(self.file, self.line, self.column + 1, problem)

    def part(self, start: int, end: int | None = None) -> _Piece:
        return self._replace(column=self.column + start, text=self.text[start:end])

    def tokens(self) -> list[_Piece]:
        return [self.part(*match.span()) for match in _TOKEN.finditer(self.text)]

    def split(self, separator: str) -> Iterator[_Piece]:
        start = 0
        for text in self.text.split(separator):
            yield self.part(start, start + len(text))
            start += len(text) + len(separator)


class _Header:
    """The header's values while a text is read."""

    def __init__(self, kept: Image | None) -> None:
        self.given: dict[str, Any] = {}
        self._kept = kept

    def take(self, piece: _Piece, key: str, value: _Piece) -> None:
        if key not in HEADERS:
            piece.fail(
                f'unknown header "{key}"'
                + (_suggest(key, HEADERS) or f"; headers are {', '.join(HEADERS)}")
            )
        if {"show": "shows"}.get(key, key) in self.given:
            piece.fail(f'"{key}:" stands here a second time; leave one of them out')
        tokens = value.tokens()
        if not tokens:
            value.fail(f'"{key}:" has no value; write one or leave the line out')
        if key == "show":
            self.given["shows"] = value.text.strip()
        else:
            for token in tokens:
                if token.text.startswith("#"):
                    token.fail("in the header, comments need lines of their own")
            self.given[key] = getattr(self, f"_{key}")(tokens)

    def _on(self, tokens: list[_Piece]) -> tuple[str, ...]:
        for number, token in enumerate(tokens):
            if token.text in (earlier.text for earlier in tokens[:number]):
                token.fail(f'"{token.text}" is named twice; leave one out')
            if token.text != DEFAULT:
                _check_config(token, self._kept)
        return tuple(token.text for token in tokens)

    def _rules(self, tokens: list[_Piece]) -> tuple[str, ...]:
        for token in tokens:
            if not _RULE.fullmatch(token.text):
                token.fail(f'"{token.text}" is no rule id; use letters, digits and _ . : -')
        return tuple(token.text for token in tokens)

    def _size(self, tokens: list[_Piece]) -> int:
        if len(tokens) > 1:
            tokens[1].fail('"size:" takes one number, as in size: 20m')
        try:
            size = parse_number(tokens[0].text)
        except BadValue as error:
            tokens[0].fail(str(error))
        if size % 1024 or not SMALLEST_IMAGE <= size <= DEVICE_SIZE:
            tokens[0].fail(
                f"size is {tokens[0].text}; it must be whole KiB from "
                f"{format_number(SMALLEST_IMAGE)} to {format_number(DEVICE_SIZE)}"
            )
        return size


def parse(text: str, name: str, file: str | None = None, kept: Image | None = None) -> Program:
    """The program that `text` holds, called `name`; `file` is how errors call the text.

    `kept` is the image in a file that it may run on. Raises WorkloadSyntaxError.
    """
    lines = [_Piece(file or name, number, 0, line) for number, line in _lines(text)]
    return _parse(lines, name, kept)


def parse_line(text: str, name: str = "line", kept: Image | None = None) -> Program:
    """The program of a single line, headers and operations separated by `;`; `kept` as above.

    Raises WorkloadSyntaxError.
    """
    pieces: list[_Piece] = []
    for number, line in _lines(text):
        code = line.split("#", 1)[0]
        whole = _Piece(name, number, 0, line)
        pieces += [*whole.part(0, len(code)).split(";"), whole.part(len(code))]
    return _parse(pieces, name, kept)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.split("\n"), start=1)


def _parse(lines: Iterable[_Piece], name: str, kept: Image | None) -> Program:
    if not _NAME.fullmatch(name):
        raise ValueError(f'"{name}" is no name of a program; use letters, digits and _ . -')
    header = _Header(kept)
    body = _Body()
    ops = body.ops
    notes: list[Note] = []
    piece = None
    for piece in lines:
        match = _HEADER.match(piece.text.split("#", 1)[0]) and _HEADER.match(piece.text)
        if match and not body.begun:
            header.take(piece.part(match.start(1)), match[1], piece.part(match.start(2)))
            continue
        if match and match[1] in HEADERS:
            piece.part(match.start(1)).fail("headers stand above the first operation; move it up")
        code, comment = piece.text.split("#", 1) if "#" in piece.text else (piece.text, None)
        before = len(ops)
        for statement in piece.part(0, len(code)).split(";"):
            if tokens := statement.tokens():
                body.take(tokens)
        if comment is not None and comment.strip():
            beside = len(ops) > before
            index = len(ops) - 1 if beside else len(ops) if ops or header.given else -1
            notes.append(Note(index, comment.strip(), beside))
    body.close()
    if not ops:
        where = piece or _Piece(name, 1, 0, "")
        where.fail("there is no operation; write one per line, as in: pwrite a 0 4k")
    return Program(name, tuple(ops), notes=tuple(notes), kept=kept, **header.given)


class _Body:
    """The operations while a text is read; `begun` once there is one, or a section's start."""

    def __init__(self) -> None:
        self.ops: list[AnyOp] = []
        self._start: _Piece | None = None
        self._seed = 0
        self._threads: list[list[Call]] = []

    @property
    def begun(self) -> bool:
        return bool(self.ops) or self._start is not None

    def take(self, tokens: list[_Piece]) -> None:
        """Add one statement: an operation, or a word that begins, divides or ends a section."""
        word, *rest = tokens
        if word.text == Parallel.WORD:
            if self._start is not None:
                word.fail(f'a section can\'t hold another one; write "{END}" first')
            self._start, self._threads = word, [[]]
            self._seed = _seed(rest)
        elif word.text in (AND, END):
            if self._start is None:
                word.fail(f'"{word.text}" belongs to a section; write "{Parallel.WORD}" first')
            if rest:
                rest[0].fail(f'"{word.text}" takes nothing; "{rest[0].text}" is one too many')
            if word.text == AND:
                self._threads.append([])
            else:
                self._end()
        elif self._start is not None:
            tag = default_tag(len(self.ops), sum(map(len, self._threads)))
            self._threads[-1].append(_parse_call(tokens, tag))
        else:
            self.ops.append(_parse_call(tokens, len(self.ops) + 1))

    def _end(self) -> None:
        assert self._start is not None
        if (why := problem(self._threads)) is not None:
            self._start.fail(f"{Parallel.WORD}: {why}")
        threads = tuple(map(tuple, self._threads))
        self.ops.append(Parallel(threads=threads, seed=self._seed))
        self._start = None

    def close(self) -> None:
        """Fail if a section is still open."""
        if self._start is not None:
            self._start.fail(f'this section has no end; write "{END}" behind its last call')


def _seed(rest: list[_Piece]) -> int:
    """The seed behind `parallel`: `seed=N` or a plain number, 0 if there is none."""
    for token in rest[1:]:
        token.fail(f'{Parallel.WORD} takes [seed=N]; "{token.text}" is one too many')
    for token in rest:
        text = token.text.removeprefix("seed=")
        if not text.isascii() or not text.isdecimal() or len(text) > 9:
            token.fail(f"{Parallel.WORD} takes [seed=N], N a number of up to 9 digits")
        return int(text)
    return 0


def _parse_call(tokens: list[_Piece], default_tag: int) -> Call:
    word, *rest = tokens
    cls = BY_WORD.get(word.text)
    if cls is None:
        words = (*BY_WORD, Parallel.WORD, AND, END)
        hint = _suggest(word.text, words) or "; docs/workloads.md lists them"
        word.fail(f'unknown operation "{word.text}"{hint}')
    values = _values(cls, _assign(cls, word, rest))
    if any(field.name == "tag" for field in fields_of(cls)):
        values.setdefault("tag", default_tag)
    return cast(Call, cls(**values))


def _assign(cls: type[Op], word: _Piece, rest: list[_Piece]) -> dict[str, _Piece]:
    """Which token belongs to which field: named ones first, the others fill the rest."""
    fields = {field.name: field for field in fields_of(cls)}
    given: dict[str, _Piece] = {}
    positional = []
    for token in rest:
        key, equals, _ = token.text.partition("=")
        if not equals or any(field.kind == "options" for field in fields.values()):
            positional.append(token)
            continue
        if key not in fields:
            hint = _suggest(key, fields)
            token.fail(f'{cls.WORD} has no field "{key}"{hint}; it takes {usage(cls)}')
        if key in given:
            token.fail(f'"{key}" is given twice; leave one out')
        given[key] = token.part(len(key) + 1)
    free = [field for field in fields.values() if field.name not in given]
    needed = [field for field in free if not field.optional]
    if len(positional) <= len(needed):
        free = needed
    if len(positional) > len(free):
        extra = positional[len(free)]
        extra.fail(f'{cls.WORD} takes {_takes(cls)}; "{extra.text}" is one too many')
    given.update({field.name: token for field, token in zip(free, positional, strict=False)})
    for field in needed:
        if field.name not in given:
            last = rest[-1] if rest else word
            end = last.part(len(last.text))
            end.fail(f"{cls.WORD} takes {_takes(cls)}; {field.name.upper()} is missing")
    return given


def _takes(cls: type[Op]) -> str:
    return usage(cls).partition(" ")[2] or "nothing"


def _values(cls: type[Op], given: dict[str, _Piece]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields_of(cls):
        if field.name in given:
            try:
                values[field.name] = field.parse(given[field.name].text)
            except BadValue as error:
                given[field.name].fail(f"{cls.WORD}: {error}")
    return values


def _check_config(token: _Piece, kept: Image | None) -> None:
    image, at, mount = token.text.partition("@")
    if image.startswith(KEPT):
        _check_kept(token, image, kept)
    elif image not in IMAGES:
        known = f"; images are {', '.join(IMAGES)}"
        token.fail(f'unknown image "{image}"{_suggest(image, IMAGES) or known}')
    if not at or not mount:
        token.fail(f'"{token.text}" names no mount options; write {image}@delalloc')
    if not _MOUNT.fullmatch(mount):
        token.part(len(image) + 1).fail(f'"{mount}" is no list of mount options; write a,b=c')


def _check_kept(token: _Piece, image: str, kept: Image | None) -> None:
    if kept is None:
        token.fail(
            f'"{image}" is an image in a file, named by its sha256; '
            "give the file: ext4diff run --from IMAGE"
        )
    if image != kept.name:
        token.fail(f'this is to start from "{image}", but the image given is "{kept.name}"')


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""
