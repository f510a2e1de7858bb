"""fsx operations as a workload: `--record-ops` files and the log that a failure prints."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from workloads.formats.fsx_words import ARGUMENTS, CONTENT, FILE, FLAGS, RANGES, REFUSED, WORDS
from workloads.formats.heads import program_of
from workloads.formats.imported import Builder, Imported
from workloads.formats.numbers import c_number
from workloads.formats.sizes import change_sizes
from workloads.ops import Close, CopyRange, DropCaches, Fsync, MsyncWrite, Op, Truncate

__all__ = ["read_log", "read_ops"]

_TOKEN = re.compile(r"\S+")
_FILE = re.compile(r"#\s*file: (\S+)$")
_LOSSY = {
    "read_dontcache": ("read", "RWF_DONTCACHE is left out"),
    "write_dontcache": ("write", "RWF_DONTCACHE is left out"),
    "write_atomic": ("write", "RWF_ATOMIC is left out"),
    "mapread": ("read", "a read through a mapping became pread(2)"),
}


class _Entry(NamedTuple):
    """One operation of fsx, as either text has it; `args` are OFFSET LENGTH and more."""

    line: int
    text: str
    word: str
    args: tuple[int, ...]
    flags: frozenset[str]
    skipped: bool = False


def _translate(builder: Builder, entry: _Entry, file: str, size: int | None) -> None:
    """Add what `entry` did; `size` is the file's before it, if the text says so."""
    line, word, (off, length) = entry.line, entry.word, entry.args[:2]
    if entry.skipped:
        builder.leave_out(line, entry.text, "fsx skipped it")
    elif word in REFUSED:
        builder.leave_out(line, entry.text, REFUSED[word])
    else:
        if "unshare" in entry.flags:
            builder.change(line, entry.text, "UNSHARE_RANGE is left out: ext4 has no reflink")
        if word in _LOSSY:
            word, why = _LOSSY[word]
            builder.change(line, entry.text, why)
        if word == "truncate":
            builder.add(line, Truncate, file=file, size=length)
        elif word == "fsync":
            builder.add(line, Fsync, file=file)
        elif word == "mapwrite":
            if size is not None and off + length > size:  # as domapwrite() does
                builder.add(line, Truncate, file=file, size=off + length)
            builder.add(line, MsyncWrite, file=file, off=off, len=length)
        elif word == "copy_range":
            builder.add(line, CopyRange, file=file, off=off, len=length, to=file, dst=entry.args[2])
        else:
            builder.add(line, _range(word, entry.flags), file=file, off=off, len=length)
    if "close_open" in entry.flags:  # docloseopen() drops the caches in between
        builder.add(line, Close, file=file)
        builder.add(line, DropCaches)


def _range(word: str, flags: frozenset[str]) -> type[Op]:
    return RANGES[word, "keep_size" in flags and (word, True) in RANGES]


# --- files of --record-ops --------------------------------------------------------------


def read_ops(text: str, name: str, file: str) -> Imported:
    """The workload of an operations file; `file` is how errors call it.

    Raises `WorkloadSyntaxError` where fsx's own reader would stop, and at negative numbers
    and a last line that was cut.
    """
    builder = Builder(name, file)
    lines = text.splitlines()
    target = next((match[1] for match in map(_FILE.match, lines[:40]) if match), FILE)
    for number, line in enumerate(lines, 1):
        tokens = list(_TOKEN.finditer(line))
        if tokens and not tokens[0][0].startswith("#"):
            entry = _entry(builder, number, line, tokens)
            _translate(builder, entry, target, entry.args[-1])
    if text and not text.endswith("\n"):
        builder.fail(len(lines), "the last line has no end: the file was cut; record it again")
    return builder.build(program_of(lines), max(len(lines), 1), CONTENT)


def _entry(builder: Builder, number: int, line: str, tokens: list[re.Match[str]]) -> _Entry:
    skipped = tokens[0][0] == "skip"
    rest = tokens[skipped:]
    if not rest:
        builder.fail(number, "an operation belongs behind skip", len(line) + 1)
    word = rest[0][0]
    if word not in ARGUMENTS:
        close = difflib.get_close_matches(word, WORDS, 1)
        hint = f'did you mean "{close[0]}"?' if close else f"fsx knows {', '.join(WORDS)}"
        builder.fail(number, f'unknown operation "{word}"; {hint}', rest[0].start() + 1)
    count = ARGUMENTS[word]
    if len(rest) <= count:
        builder.fail(
            number, f"{word} has {count} numbers, here are {len(rest) - 1}; is the line cut?",
            len(line) + 1,
        )  # fmt: skip
    args = tuple(_number(builder, number, token) for token in rest[1 : count + 1])
    for token in rest[count + 1 :]:
        if token[0] not in FLAGS:
            builder.fail(
                number, f'"{token[0]}" is no flag; fsx knows {", ".join(FLAGS)}', token.start() + 1
            )
    flags = frozenset(token[0] for token in rest[count + 1 :])
    return _Entry(number, line, word, args, flags, skipped)


def _number(builder: Builder, line: int, token: re.Match[str]) -> int:
    text, column = token[0], token.start() + 1
    if text.startswith("-"):
        builder.fail(line, f"{text} is negative; offsets and lengths are not", column)
    if not re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", text):
        builder.fail(line, f'"{text}" is no number; write 0x1000 or 4096', column)
    try:
        value = c_number(text)
    except ValueError:
        builder.fail(line, f'"{text}" begins with 0 and is no octal number', column)
    if value > 0x7FFFFFFF:
        problem = f"{text} is negative in fsx's 32 bits; offsets and lengths are not"
        builder.fail(line, problem, column)
    return value


# --- the log of a failure ---------------------------------------------------------------

_DUMP = re.compile(r"(?:\w+: )?LOG DUMP \((\d+) total operations\):")
_ENTRY = re.compile(r"(?:\w+: )?(\d+)\(\s*\d+ mod 256\): (.*)")
_CLOSED = re.compile(r"(?:\w+: )?\t\tCLOSE/OPEN")
_HEX = r"(0x[0-9a-f]+)"
_RANGE = re.compile(
    rf"(MAPREAD|MAPWRITE|READ|WRITE|FALLOC|PUNCH|ZERO|COLLAPSE|INSERT|XCHG|CLONE|DEDUPE|COPY)"
    rf"\s+{_HEX} thru {_HEX}\s+\({_HEX} bytes\)(?: to {_HEX} thru {_HEX})?(.*)"
)
_TRUNCATE = re.compile(rf"TRUNCATE (?:DOWN|UP)\s+from {_HEX} to {_HEX}")
_LOG_WORDS = {
    "MAPREAD": "mapread", "MAPWRITE": "mapwrite", "READ": "read", "WRITE": "write",
    "FALLOC": "fallocate", "PUNCH": "punch_hole", "ZERO": "zero_range",
    "COLLAPSE": "collapse_range", "INSERT": "insert_range", "XCHG": "exchange_range",
    "CLONE": "clone_range", "DEDUPE": "dedupe_range", "COPY": "copy_range",
}  # fmt: skip


def read_log(text: str, name: str, file: str) -> Imported:
    """The workload of the log that fsx prints at a failure (`LOG DUMP`).

    What stands around the log is passed over. Raises `WorkloadSyntaxError` if the log is
    cut or holds a line that fsx does not print.
    """
    builder = Builder(name, file)
    lines = text.splitlines()
    start, total = _dump_of(builder, lines)
    entries: list[_Entry] = []
    number = start + 1
    for number in range(start + 1, len(lines) + 1):
        line = lines[number - 1]
        if _CLOSED.match(line) and entries:
            entries[-1] = entries[-1]._replace(flags=entries[-1].flags | {"close_open"})
        elif match := _ENTRY.match(line):
            entries.append(_log_entry(builder, number, line, match))
        elif line.strip():
            break  # what fsx says behind the log
    if len(entries) < min(total, 10000):  # LOGSIZE
        builder.fail(
            number, f"the log says {total} operations and holds {len(entries)}: it was cut;"
            " use fsx's .fsxops file",
        )  # fmt: skip
    if total > len(entries):
        builder.leave_out(start, lines[start - 1], "fsx keeps the last 10000 operations only")
    sizes = {FILE: 0}
    for entry in entries:
        if entry.word == "zero_range" and sum(entry.args[:2]) > sizes[FILE]:
            why = "the log does not tell whether the size was kept; fsx's .fsxops file does"
            builder.change(entry.line, entry.text, why)
        known = len(builder.ops)
        _translate(builder, entry, FILE, sizes[FILE])
        for op in builder.ops[known:]:
            change_sizes(sizes, op)
    return builder.build(None, len(lines), CONTENT)


def _dump_of(builder: Builder, lines: list[str]) -> tuple[int, int]:
    """The line (from 1) of the log's head, and how many operations it announces."""
    found = [
        (number, match) for number, line in enumerate(lines, 1) if (match := _DUMP.match(line))
    ]
    if not found:
        builder.fail(1, "there is no line LOG DUMP (N total operations); give fsx's whole output")
    number, match = found[0]
    return number, int(match[1])


def _log_entry(builder: Builder, number: int, line: str, match: re.Match[str]) -> _Entry:
    text = match[2]
    if text.startswith("SKIPPED"):
        return _Entry(number, line, "skip", (0, 0), frozenset(), skipped=True)
    if text.startswith("FSYNC"):
        return _Entry(number, line, "fsync", (0, 0), frozenset())
    if found := _TRUNCATE.match(text):
        return _Entry(number, line, "truncate", (0, int(found[2], 16)), frozenset())
    found = _RANGE.match(text)
    if found is None:
        builder.fail(number, f'"{text}" is no line of an fsx log; is it cut?', match.start(2) + 1)
    word = _LOG_WORDS[found[1]]
    keep = word == "fallocate" and "PAST_EOF" in found[7]
    flags = frozenset({"keep_size"} if keep else ())
    first, count = int(found[2], 16), int(found[4], 16)
    if first + count > 0xFFFFFFFF or count > 0x7FFFFFFF:
        builder.fail(number, f"{found[4]} is a negative length", match.start(2) + 1)
    to = (int(found[5], 16),) if found[5] else ()
    return _Entry(number, line, word, (first, count, *to), flags)
