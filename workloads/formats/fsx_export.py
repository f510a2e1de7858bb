"""A workload as an operations file for fsx, which replays it with `--replay-ops`.

fsx bends what it reads: offsets and lengths are cut to the file's size or to `-l`,
collapses and inserts are rounded to blocks, and it ends at an operation that fails. So
only what fsx would do unchanged is written.
"""

from __future__ import annotations

from collections import Counter

from workloads.formats.exported import Expected, Exported, Foretell, Kept, LeftOut, reduced, said_of
from workloads.formats.fsx_words import RANGES
from workloads.formats.heads import head_of
from workloads.formats.sizes import change_sizes
from workloads.ops import (
    AnyOp,
    Close,
    Collapse,
    CopyRange,
    DropCaches,
    FileOp,
    Fsync,
    Insert,
    MsyncWrite,
    Punch,
    RangeOp,
    Read,
    Truncate,
)
from workloads.program import Program

__all__ = ["write_ops"]

SUFFIX = ".fsxops"
LARGEST = 1 << 30
"""Bytes that fsx's file may have: it keeps three copies of it in memory."""
BLOCK = 4096
"""Bytes; the largest st_blksize of our images. fsx rounds some offsets to it."""

_WORDS = {cls: (word, keep) for (word, keep), cls in RANGES.items()}
_OTHERS = (Truncate, Fsync, MsyncWrite, CopyRange)


def write_ops(program: Program, foretell: Foretell) -> Exported:
    """The operations file. `foretell` tells what fails, which fsx does not bear."""
    file = _file(program)
    kept, _, left_out = reduced(
        program, foretell, lambda kept, expected: _judge(kept, expected, file)
    )
    lines: list[str] = []
    sizes = {file: 0}
    longest, largest = 262144, 65536  # fsx's own -l and -o, the size of its buffers
    for _, op in kept:
        if isinstance(op, Close):
            lines[-1] += " close_open"
        elif not isinstance(op, DropCaches):  # which belongs to the close before it
            lines.append(_line(op, sizes[file]))
            change_sizes(sizes, op)
            longest = max(longest, sizes[file])
            if isinstance(op, RangeOp):
                longest = max(longest, op.off + op.len)
            largest = max(largest, getattr(op, "len", 0))
    head = [
        *head_of(program),
        f"file: {file}",
        *said_of(left_out, len(program.ops)),
        f"fsx -q -l {longest} -o {largest} --replay-ops=FILE{SUFFIX} DIRECTORY/{file}",
        "content: fsx writes its own bytes",
    ]
    if any(isinstance(op, Fsync) for _, op in kept):
        head.append(
            "fsync: fsx runs `dmsetup message DEVICE 0 mark ...` behind each one and ends if that"
            " fails; it needs -i DEVICE (dm-log-writes), or any -i and a dmsetup in PATH that does"
            " nothing"
        )
    text = "".join(f"# {line}\n" for line in head) + "".join(f"{line}\n" for line in lines)
    return Exported({SUFFIX: text}, tuple(left_out))


def _judge(kept: Kept, expected: Expected, file: str) -> list[LeftOut]:
    """What fsx can't do of `kept`, as far as the file has the size that it would have."""
    found: list[LeftOut] = []
    sizes = {file: 0}
    reopened = False
    for number, (index, op) in enumerate(kept):
        if reopened:
            reopened = False
            continue
        following = kept[number + 1][1] if number + 1 < len(kept) else None
        if (
            number
            and isinstance(op, Close)
            and op.file == file
            and isinstance(following, DropCaches)
        ):
            reopened = True
            continue
        why = _problem(op, file, sizes[file], expected.steps[number].result)
        if why is None:
            change_sizes(sizes, op)
        else:
            found.append(LeftOut.of(index, op, why))
    return found


def _file(program: Program) -> str:
    """The file that most operations name; fsx knows one."""
    named = Counter(name for op in program.ops if (name := getattr(op, "file", None)))
    return named.most_common(1)[0][0] if named else "testfile"


def _line(op: AnyOp, size: int) -> str:
    if isinstance(op, Truncate):
        return f"truncate 0x0 {op.size:#x} {size:#x}"
    if isinstance(op, Fsync):
        return f"fsync 0x0 0x0 {size:#x}"
    if isinstance(op, MsyncWrite):
        return f"mapwrite {op.off:#x} {op.len:#x} {size:#x}"
    if isinstance(op, CopyRange):
        return f"copy_range {op.off:#x} {op.len:#x} {op.dst:#x} {size:#x}"
    word, keep = _WORDS[type(op)]
    flag = " keep_size" if keep else ""
    return f"{word} {op.off:#x} {op.len:#x} {size:#x}{flag}"  # type: ignore[union-attr]


def _problem(  # noqa: PLR0911
    op: AnyOp, file: str, size: int, result: int | str | list[list[int]]
) -> str | None:
    """Why fsx can't do `op`, or would do something else; None if it does just that.

    `size` is the file's before it, in bytes, and `result` what is expected of it.
    """
    if not isinstance(op, FileOp) or type(op) not in (*_WORDS, *_OTHERS):
        return f"fsx has no {op.WORD}"
    if getattr(op, "file", file) != file or getattr(op, "to", file) != file:
        return "fsx works on one file"
    if isinstance(op, Truncate):
        return "sizes beyond 1g do not fit into fsx" if not 0 <= op.size <= LARGEST else None
    if not isinstance(op, RangeOp):
        return None
    if op.len == 0:
        return "fsx skips lengths of 0"
    if min(op.off, op.len) < 0 or max(op.off + op.len, size) > LARGEST:
        return "offsets beyond 1g do not fit into fsx"
    if not isinstance(op, Read) and isinstance(result, str):
        return "fsx ends at an operation that fails"
    if isinstance(result, int) and result not in (0, op.len):
        return "fsx ends at a short write"
    return _bent(op, size)


def _bent(op: RangeOp, size: int) -> str | None:
    """Why fsx would change the numbers of `op` on a file of `size` bytes, if it would."""
    off, end = op.off, op.off + op.len
    if isinstance(op, Read | Punch | MsyncWrite) and end > size:
        return "fsx cuts ranges of reads, punches and mappings at EOF"
    if isinstance(op, Collapse | Insert) and (off % BLOCK or op.len % BLOCK):
        return "fsx rounds collapses and inserts to blocks"
    if isinstance(op, Collapse) and end >= size:
        return "fsx skips collapses that reach EOF"
    if isinstance(op, Insert) and off >= size:
        return "fsx skips inserts at EOF"
    if isinstance(op, CopyRange) and (end > size or abs(op.dst - off) < op.len):
        return "fsx copies inside of EOF, and only ranges that do not overlap"
    return None
