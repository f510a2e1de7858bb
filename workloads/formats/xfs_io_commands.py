"""The commands of xfs_io: one line each, run on the file that xfs_io has open."""

from __future__ import annotations

import difflib
import getopt
import re
from collections.abc import Callable
from typing import NoReturn

import msgspec

from workloads.formats.imported import Builder
from workloads.formats.numbers import c_number
from workloads.formats.xfs_io_words import DEFAULT_BUFFER
from workloads.ops import (
    Append,
    Collapse,
    CopyRange,
    DioWrite,
    DsyncWrite,
    Falloc,
    FallocKeep,
    Fdatasync,
    Fsync,
    Insert,
    MmapWrite,
    MsyncWrite,
    Op,
    Punch,
    Read,
    Seek,
    Sendfile,
    Sync,
    SyncRange,
    SyncWrite,
    Truncate,
    Write,
    Zero,
    ZeroKeep,
)

__all__ = ["COMMANDS", "ONESHOT", "Handle", "Place", "run_command"]

MOST_PIECES = 64
"""Writes that one pwrite without -b may become; more are joined."""


class Handle(msgspec.Struct):
    """A file that xfs_io has open: `flags` are the letters it was opened with."""

    file: str
    flags: str = ""
    mapping: tuple[int, int] | None = None


class Place(msgspec.Struct, frozen=True):
    """Where a command stands, for errors and remarks; `name_of` makes names of paths."""

    builder: Builder
    line: int
    column: int
    text: str
    name_of: Callable[[str], str]

    def fail(self, problem: str) -> NoReturn:
        """Refuse the script. Raises `WorkloadSyntaxError`."""
        self.builder.fail(self.line, problem, self.column)

    def add(self, cls: type[Op], **values: object) -> None:
        """Append an operation."""
        self.builder.add(self.line, cls, column=self.column, **values)

    def leave_out(self, why: str) -> None:
        """The command has no operation."""
        self.builder.leave_out(self.line, self.text, why)

    def change(self, why: str) -> None:
        """The operation is not quite the command."""
        self.builder.change(self.line, self.text, why)


_SUFFIXES = {"b": 4096, "s": 512, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NUMBER = re.compile(r"(-?)(0x[0-9a-f]+|[0-9]+)([bskmgt]?)", re.IGNORECASE)


def _number(place: Place, text: str) -> int:
    """cvtnum() of xfsprogs: strtoll(3) with base 0 and a suffix."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        place.fail(f'"{text}" is no number; write 4096, 4k, 0x1000 or 8b')
    sign, digits, unit = match.groups()
    if sign:
        place.fail(f"{text} is negative; xfs_io takes no negative numbers")
    return _value(place, digits) * _SUFFIXES.get(unit.lower(), 1)


def _value(place: Place, digits: str) -> int:
    try:
        return c_number(digits)
    except ValueError:
        place.fail(f'"{digits}" begins with 0 and is no octal number')


def _parsed(
    place: Place, words: list[str], letters: str, numbers: int, least: int | None = None
) -> tuple[dict[str, str], list[str]]:
    """Options by letter and the arguments of a command with as many arguments as `numbers`."""
    for word in words[1:]:
        if re.fullmatch("-[0-9].*", word):
            place.fail(f"{word} is negative; xfs_io takes no negative numbers")
    try:
        pairs, rest = getopt.getopt(words[1:], letters)
    except getopt.GetoptError as error:
        place.fail(f"{words[0]}: {error.msg}; xfs_io's `help {words[0]}` lists its options")
    if not (numbers if least is None else least) <= len(rest) <= numbers:
        place.fail(f"{words[0]} takes {numbers} arguments, here are {len(rest)}; is it cut?")
    return {letter[1:]: value for letter, value in pairs}, rest


# --- one function per command --------------------------------------------------------------


def _pwrite(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "b:BCdAf:Fi:NDqRs:S:uV:wWOZ:", 2)
    off, length = (_number(place, text) for text in rest)
    if set(options) & {"B", "R"}:
        place.fail("pwrite -B and -R write in another order; write the single writes out")
    for letter, what in (("i", "its data come from a file"), ("V", "one call of several vectors")):
        if letter in options:
            place.change(f"{what}; became plain writes")
    for letter, flag in (("N", "RWF_NOWAIT"), ("A", "RWF_ATOMIC")):
        if letter in options:
            place.change(f"{flag} is left out")
    buffer = _number(place, options["b"]) if "b" in options else DEFAULT_BUFFER
    buffer *= _number(place, options.get("V", "1"))
    how = {"tag": _seed(place, options["S"])} if "S" in options else {}
    pieces = [(off, length)]
    if 0 < buffer < length and "O" not in options:
        if length > buffer * MOST_PIECES:
            place.change(f"more than {MOST_PIECES} writes in a row became one")
        else:
            ends = range(off, off + length, buffer)
            pieces = [(at, min(buffer, off + length - at)) for at in ends]
    for at, count in pieces:
        _write(place, handle, "D" in options, off=at, len=count, **how)
    for letter, cls in (("w", Fdatasync), ("W", Fsync)):
        if letter in options:
            place.add(cls, file=handle.file)


def _seed(place: Place, text: str) -> int:
    if not re.fullmatch(r"0x[0-9a-fA-F]+|[0-9]+", text):
        place.fail(f'"{text}" is no seed; write a number')
    return _value(place, text) & 0x7FFFFFFF


def _write(place: Place, handle: Handle, dsync: bool, **values: int) -> None:
    flags = handle.flags
    cls: type[Op] = Write
    if "a" in flags:
        cls = Append
        del values["off"]
    elif "d" in flags:
        cls = DioWrite
        if "s" in flags or dsync:
            place.change("O_DIRECT with O_SYNC became O_DIRECT")
    elif "s" in flags:
        cls = SyncWrite
    elif dsync:
        cls = DsyncWrite
    place.add(cls, file=handle.file, **values)


def _pread(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "b:BCFi:qRuvV:Z:", 2)
    off, length = (_number(place, text) for text in rest)
    buffer = _number(place, options["b"]) if "b" in options else DEFAULT_BUFFER
    if set(options) & {"B", "R"}:
        place.change("the order of its reads is left out")
    if "d" in handle.flags:
        place.change("a read with O_DIRECT became pread(2)")
    if buffer < length:
        place.change(f"reads of {buffer} bytes became one")
    place.add(Read, file=handle.file, off=off, len=length)


def _ranged(cls: type[Op], options: str = "") -> Callable[[Place, Handle, list[str]], None]:
    def run(place: Place, handle: Handle, words: list[str]) -> None:
        given, rest = _parsed(place, words, options, 2)
        chosen = ZeroKeep if cls is Zero and "k" in given else cls
        off, length = (_number(place, text) for text in rest)
        place.add(chosen, file=handle.file, off=off, len=length)

    return run


def _falloc(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "cikpu", 2)
    off, length = (_number(place, text) for text in rest)
    if "u" in options:
        place.leave_out("ext4 has no reflink, and refuses UNSHARE_RANGE")
        return
    modes = {"c": Collapse, "i": Insert, "k": FallocKeep, "p": Punch}
    cls: type[Op] = modes[list(options)[-1]] if options else Falloc
    place.add(cls, file=handle.file, off=off, len=length)


def _truncate(place: Place, handle: Handle, words: list[str]) -> None:
    _, rest = _parsed(place, words, "", 1)
    place.add(Truncate, file=handle.file, size=_number(place, rest[0]))


def _plain(cls: type[Op], on_file: bool = True) -> Callable[[Place, Handle, list[str]], None]:
    def run(place: Place, handle: Handle, words: list[str]) -> None:
        _parsed(place, words, "", 0)
        place.add(cls, **({"file": handle.file} if on_file else {}))

    return run


def _sync_range(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "abw", 2)
    off, length = (_number(place, text) for text in rest)
    if set(options) != {"a", "b", "w"}:
        place.change("sync_file_range(2) became one that waits before and after")
    place.add(SyncRange, file=handle.file, off=off, len=length)


def _mmap(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "rwxSs:", 2, 0)
    if len(rest) == 2:
        off, length = (_number(place, text) for text in rest)
        handle.mapping = (off, length)
        if options and "w" not in options:
            place.leave_out("a mapping that is not written through does nothing")
    elif rest:
        place.fail("the number of a mapping is not followed; write mmap OFF LEN again")


def _mapped(place: Place, handle: Handle, words: list[str], rest: list[str]) -> tuple[int, int]:
    """The range that a command works on: its own or the whole mapping."""
    if handle.mapping is None:
        place.fail(f"{words[0]} needs a mapping; put mmap OFF LEN before it")
    if not rest:
        return handle.mapping
    if len(rest) == 1:
        place.fail(f"{words[0]} takes 2 arguments, here are 1; is it cut?")
    off, length = (_number(place, text) for text in rest)
    start, size = handle.mapping
    if off < start or off + length > start + size:
        place.fail(f"the range is not inside of the mapping of {size} bytes at {start}")
    return off, length


def _mwrite(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "rS:", 2, 0)
    off, length = _mapped(place, handle, words, rest)
    if "r" in options:
        place.change("stores from the end became stores from the start")
    tag = {"tag": _seed(place, options["S"])} if "S" in options else {}
    place.add(MmapWrite, file=handle.file, off=off, len=length, **tag)


def _msync(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "ais", 2, 0)
    off, length = _mapped(place, handle, words, rest)
    last = place.builder.ops[-1] if place.builder.ops else None
    if "s" not in options:
        place.leave_out("msync(2) without MS_SYNC does nothing")
    elif (
        isinstance(last, MmapWrite)
        and last.file == handle.file
        and (off <= last.off and last.off + last.len <= off + length)
    ):
        fields = {name: getattr(last, name) for name in ("file", "off", "len", "tag")}
        place.builder.ops[-1] = MsyncWrite(**fields)
    else:
        place.change("msync(MS_SYNC) of a mapping became fsync")
        place.add(Fsync, file=handle.file)


def _munmap(place: Place, handle: Handle, words: list[str]) -> None:
    _parsed(place, words, "", 0)
    handle.mapping = None


def _copy_range(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "s:d:l:f:", 1, 0)
    if "f" in options or not rest:
        place.fail("copy_range -f takes a file by number, which is not followed; name the file")
    source = place.name_of(rest[0])
    if "l" not in options:
        place.fail("copy_range without -l copies to the end, which no workload says; add -l LEN")
    off, dst = (_number(place, options.get(letter, "0")) for letter in "sd")
    length = _number(place, options["l"])
    place.add(CopyRange, file=source, off=off, len=length, to=handle.file, dst=dst)


def _sendfile(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "qi:f:", 2, 0)
    if "i" not in options or len(rest) != 2:
        place.fail("sendfile needs -i FILE OFF LEN here; other forms are not followed")
    off, length = (_number(place, text) for text in rest)
    source = place.name_of(options["i"])
    place.change("the destination's position is taken to be 0, as just after opening")
    place.add(Sendfile, file=source, off=off, len=length, to=handle.file, dst=0)


def _seek(place: Place, handle: Handle, words: list[str]) -> None:
    options, rest = _parsed(place, words, "adhrs", 1)
    if not {"a", "r"} <= set(options) or _number(place, rest[0]):
        place.change("became a walk over all data ranges")
    place.add(Seek, file=handle.file)


def _looks_only(place: Place, _handle: Handle, _words: list[str]) -> None:
    place.leave_out("it looks at the file only; every step is observed anyhow")


def _has_none(why: str) -> Callable[[Place, Handle, list[str]], None]:
    def run(place: Place, _handle: Handle, _words: list[str]) -> None:
        place.leave_out(why)

    return run


_NO_REFLINK = _has_none("ext4 has no reflink")
_XFS_ONLY = _has_none("it is for XFS")

COMMANDS: dict[str, Callable[[Place, Handle, list[str]], None]] = {
    "pwrite": _pwrite, "w": _pwrite, "pread": _pread, "r": _pread,
    "falloc": _falloc, "fpunch": _ranged(Punch), "fzero": _ranged(Zero, "k"),
    "fcollapse": _ranged(Collapse), "finsert": _ranged(Insert),
    "truncate": _truncate, "t": _truncate, "fsync": _plain(Fsync), "s": _plain(Fsync),
    "fdatasync": _plain(Fdatasync), "ds": _plain(Fdatasync), "sync": _plain(Sync, False),
    "syncfs": _plain(Sync, False), "sync_range": _sync_range, "mmap": _mmap, "mm": _mmap,
    "mwrite": _mwrite, "mw": _mwrite, "msync": _msync, "ms": _msync, "munmap": _munmap,
    "mu": _munmap, "copy_range": _copy_range, "sendfile": _sendfile, "send": _sendfile,
    "seek": _seek,
    **dict.fromkeys(
        ("stat", "statx", "statfs", "fiemap", "bmap", "print", "p", "help", "lsattr", "mincore",
         "mi", "mread", "mr", "fsmap", "readdir", "file", "f", "getrusage", "g"),
        _looks_only,
    ),
    **dict.fromkeys(("reflink", "dedupe", "funshare"), _NO_REFLINK),
    **dict.fromkeys(
        ("bulkstat", "inumbers", "extsize", "cowextsize", "swapext", "exchangerange", "scrub",
         "repair", "resvsp", "unresvsp", "allocsp", "freesp", "zero", "parent", "inode", "imap",
         "startupdate", "commitupdate", "cancelupdate", "atomicupdate", "log_writes", "rginfo",
         "aginfo", "bulkstat_single", "fsuuid", "sysfspath", "crc32cselftest", "resblks"),
        _XFS_ONLY,
    ),
    **dict.fromkeys(("chattr", "chproj", "lsproj", "label", "flink", "utimes", "madvise", "ma",
                     "fadvise", "mremap", "mrm", "freeze", "thaw", "shutdown", "error",
                     "set_encpolicy", "get_encpolicy", "add_enckey", "rm_enckey"),
                    _has_none("no workload has it")),
}  # fmt: skip
"""What xfs_io knows, with its short names; `open`, `close` and `quit` are its reader's."""

ONESHOT = frozenset({
    "open", "o", "close", "c", "file", "f", "print", "p", "help", "quit", "q", "mmap", "mm",
    "mread", "mr", "mwrite", "mw", "msync", "ms", "munmap", "mu", "madvise", "ma", "mincore", "mi",
})  # fmt: skip
"""Commands that run once even if several files were named on the command line."""


def run_command(place: Place, handle: Handle, words: list[str]) -> None:
    """Add what the command `words` does to the file of `handle`.

    Raises `WorkloadSyntaxError` if xfs_io knows no such command or would refuse it.
    """
    run = COMMANDS.get(words[0])
    if run is None:
        close = difflib.get_close_matches(words[0], COMMANDS, 1)
        hint = f'did you mean "{close[0]}"?' if close else "xfs_io's `help` lists its commands"
        place.fail(f'unknown xfs_io command "{words[0]}"; {hint}')
    run(place, handle, words)
