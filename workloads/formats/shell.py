"""Shell scripts of simple commands: words, assignments, redirections, here-documents.

Only what scripts of xfs_io commands are made of is understood. Blocks (`if`, `for`, a
function's body) are given as one statement, so that their reader can refuse them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from workloads.syntax import WorkloadSyntaxError

__all__ = ["Statement", "statements"]

_OPENERS = {"if": "fi", "for": "done", "while": "done", "until": "done", "case": "esac"}
_FUNCTION = re.compile(r"\s*(?:function\s+)?([A-Za-z_]\w*)\s*\(\)\s*(.*)")
_SEPARATORS = {";", "&&", "||", "&", "|", ";;"}
_REDIRECTION = re.compile(r"\d*(>>?|<|>&|&>)&?\d*")
_HERE = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")


class Statement(NamedTuple):
    """A simple command on line `line` (from 1): its `words`, the file that its output goes
    `into`, and the `lines` of its here-document with the number of the first.

    `block` names a construct that was not taken apart, whose text is `text`.
    """

    line: int
    text: str
    words: tuple[str, ...]
    into: str = ""
    lines: tuple[str, ...] = ()
    block: str = ""

    def column(self, word: str) -> int:
        """Where `word` stands in the first line, from 1; 1 if it can't be found."""
        return max(self.text.find(word), 0) + 1


def statements(text: str, file: str) -> Iterator[Statement]:
    """The statements of a script; `file` is how errors call it.

    Raises `WorkloadSyntaxError` where a quote or a block has no end.
    """
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        while _continues(line) and number < len(lines):
            joint = line[:-1] if line.endswith("\\") else line + "\n"
            line = joint + lines[number]
            number += 1
        here = _HERE.search(line)
        document: list[str] = []
        if here is not None:
            document, number = _document(lines, number, here[2])
            if number > len(lines):
                problem = f"the here-document has no line {here[2]}; is the script cut?"
                raise WorkloadSyntaxError(file, start + 1, 1, problem)
            line = line[: here.start()] + line[here.end() :]
        block, number = _block(lines, start, number, file)
        if block:
            yield Statement(start + 1, "\n".join(lines[start:number]), (), block=block)
        else:
            yield from _simple(start + 1, line, tuple(document), file)


def _continues(line: str) -> bool:
    if line.endswith("\\") and not line.endswith("\\\\"):
        return True
    if line.lstrip().startswith("#"):
        return False
    try:
        shlex.split(line, comments=True)
    except ValueError:  # an open quote
        return True
    return False


def _document(lines: list[str], start: int, end: str) -> tuple[list[str], int]:
    """The lines from `start` to one that says `end`, and the number of the line behind."""
    number = start
    while number < len(lines) and lines[number].strip() != end:
        number += 1
    return lines[start:number], number + 1


def _block(lines: list[str], start: int, number: int, file: str) -> tuple[str, int]:
    """The kind of block that begins on line `start`, if one does, and the line behind it."""
    first = lines[start].strip()
    word = re.match(r"[A-Za-z_]+", first)
    function = _FUNCTION.match(first)
    if function is not None:
        while number < len(lines) and "}" not in lines[number - 1].split("#")[0]:
            number += 1
        return f"function {function[1]}", number
    if word is None or word[0] not in _OPENERS:
        return "", number
    depth = 0
    for index in range(start, len(lines)):
        for token in re.findall(r"[A-Za-z_]+|[;#]", lines[index].split("#")[0]):
            depth += token in _OPENERS
            depth -= token in _OPENERS.values()
        if depth == 0:
            return word[0], max(number, index + 1)
    problem = f"{word[0]} has no {_OPENERS[word[0]]}; is the script cut?"
    raise WorkloadSyntaxError(file, start + 1, 1, problem)


def _simple(number: int, line: str, document: tuple[str, ...], file: str) -> Iterator[Statement]:
    """The simple commands of one line; what stands behind a pipe reads only and is left."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        tokens = list(lexer)
    except ValueError:
        problem = "a quote has no end; is the script cut?"
        raise WorkloadSyntaxError(file, number, 1, problem) from None
    words: list[str] = []
    into = ""
    behind_pipe = False
    rest = iter([*tokens, ";"])
    for token in rest:
        if token in _SEPARATORS or set(token) <= set("()"):
            if words and not behind_pipe:
                yield Statement(number, line, tuple(words), into, document)
            behind_pipe = token == "|"
            words, into = [], ""
        elif _REDIRECTION.fullmatch(token):
            if words and words[-1].isdigit():
                words.pop()  # the 2 of 2>
            file_named = next(rest, "")
            into = into if "<" in token else file_named
        elif not behind_pipe:
            words.append(token)
