"""Operations: one small immutable class per kind of system call.

The same class drives the model, the guest agent and the exporters. Every class is a
tagged `msgspec` struct, so a JSON object `{"op": "write", "file": "a", ...}` decodes to
it and encodes from it. Its `WORD` is what a person writes in a workload file; the
positional arguments there are the fields in order, fields with a default may follow as
`name=value`.

Units: `off`, `len`, `size`, `dst`, `fault`, `limit` are bytes; `hard` is KiB; `tag`
chooses the content (see `workloads.content`). Files are names in the root directory of
the file system. A file is opened `O_RDWR|O_CREAT` (mode 0644) at its first use, by any
operation that names it; the descriptor stays open until `close`, `otrunc`, `unlink`,
`rename`, `remount` or the end of the workload.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar

import msgspec

FileName = Annotated[str, msgspec.Meta(pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,255}\Z")]
"""A name in the root directory; what is decoded with another one is refused."""
Options = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_=,.:/-]+\Z")]
"""Mount options."""


class Op(msgspec.Struct, frozen=True, tag_field="op"):
    """One operation; `WORD` is its name in the text form."""

    WORD: ClassVar[str] = ""


class FileOp(Op, frozen=True):
    """An operation on one file."""

    file: FileName


class RangeOp(FileOp, frozen=True):
    """An operation on the byte range `[off, off + len)` of one file."""

    off: int
    len: int


# --- data -----------------------------------------------------------------------------


class Write(RangeOp, frozen=True, tag="write"):
    """`pwrite(2)`; the result is the number of bytes written."""

    WORD = "pwrite"
    tag: int


class Append(FileOp, frozen=True, tag="append"):
    """`write(2)` on a second descriptor opened `O_APPEND`."""

    WORD = "append"
    len: int
    tag: int


class WriteFault(RangeOp, frozen=True, tag="write_fault"):
    """`pwrite(2)` whose source pages from byte `fault`, rounded down to 4096, are unmapped."""

    WORD = "pwrite_fault"
    fault: int
    tag: int


class Read(RangeOp, frozen=True, tag="read"):
    """`pread(2)`; the result is the md5 (hex) of the bytes that came back."""

    WORD = "pread"


class DioWrite(RangeOp, frozen=True, tag="dio_write"):
    """`pwritev(2)` on an `O_DIRECT` descriptor, from an aligned buffer."""

    WORD = "dwrite"
    tag: int


class MmapWrite(RangeOp, frozen=True, tag="mmap_write"):
    """Store through a `MAP_SHARED` mapping; the result is `SKIP` if the range passes EOF."""

    WORD = "mwrite"
    tag: int


class MmapIn(FileOp, frozen=True, tag="mmap_in"):
    """`MmapWrite` at `int(p * i_size)`, length cut to the size; 0 if the file is empty."""

    WORD = "mwrite_in"
    p: float
    len: int
    tag: int


class CopyRange(RangeOp, frozen=True, tag="copy_range"):
    """`copy_file_range(2)` from `file` at `off` to `to` at `dst`."""

    WORD = "copy_range"
    to: FileName
    dst: int


# --- space ----------------------------------------------------------------------------


class Falloc(RangeOp, frozen=True, tag="falloc"):
    """`fallocate(2)`, mode 0."""

    WORD = "falloc"


class FallocKeep(RangeOp, frozen=True, tag="falloc_keep"):
    """`fallocate(2)`, FALLOC_FL_KEEP_SIZE."""

    WORD = "falloc_keep"


class Punch(RangeOp, frozen=True, tag="punch"):
    """`fallocate(2)`, FALLOC_FL_PUNCH_HOLE | KEEP_SIZE."""

    WORD = "fpunch"


class Zero(RangeOp, frozen=True, tag="zero"):
    """`fallocate(2)`, FALLOC_FL_ZERO_RANGE."""

    WORD = "fzero"


class ZeroKeep(RangeOp, frozen=True, tag="zero_keep"):
    """`fallocate(2)`, FALLOC_FL_ZERO_RANGE | KEEP_SIZE."""

    WORD = "fzero_keep"


class Collapse(RangeOp, frozen=True, tag="collapse"):
    """`fallocate(2)`, FALLOC_FL_COLLAPSE_RANGE."""

    WORD = "fcollapse"


class Insert(RangeOp, frozen=True, tag="insert"):
    """`fallocate(2)`, FALLOC_FL_INSERT_RANGE."""

    WORD = "finsert"


class Truncate(FileOp, frozen=True, tag="truncate"):
    """`ftruncate(2)`."""

    WORD = "truncate"
    size: int


# --- writeback and caches -------------------------------------------------------------


class Fsync(FileOp, frozen=True, tag="fsync"):
    """`fsync(2)`."""

    WORD = "fsync"


class Fdatasync(FileOp, frozen=True, tag="fdatasync"):
    """`fdatasync(2)`."""

    WORD = "fdatasync"


class SyncRange(RangeOp, frozen=True, tag="sync_range"):
    """`sync_file_range(2)` with WAIT_BEFORE | WRITE | WAIT_AFTER (flags 7)."""

    WORD = "sync_range"


class Sync(Op, frozen=True, tag="sync"):
    """`sync(2)`."""

    WORD = "sync"


class DropCaches(Op, frozen=True, tag="drop_caches"):
    """Write 3 to `/proc/sys/vm/drop_caches`."""

    WORD = "drop_caches"


class Remount(Op, frozen=True, tag="remount"):
    """Close every file, umount, mount again."""

    WORD = "remount"


# --- names and descriptors ------------------------------------------------------------


class Close(FileOp, frozen=True, tag="close"):
    """Close the file's descriptors."""

    WORD = "close"


class Otrunc(FileOp, frozen=True, tag="otrunc"):
    """Close the file's descriptors, then `open(O_RDWR|O_TRUNC)` and `close`."""

    WORD = "otrunc"


class Unlink(FileOp, frozen=True, tag="unlink"):
    """Close the file's descriptors, then `unlink(2)`."""

    WORD = "unlink"


class Rename(FileOp, frozen=True, tag="rename"):
    """Close both files' descriptors, then `rename(2)` `file` over `to`."""

    WORD = "rename"
    to: FileName


# --- limits, quota, flags, copies (the second table) ------------------------------------


class Pwritev(FileOp, frozen=True, tag="pwritev"):
    """`pwritev(2)`; `segs` holds `[length, readable or None]` of each segment.

    Of a segment, the pages from byte `readable`, rounded down to 4096, are unmapped.
    """

    WORD = "pwritev"
    off: int
    segs: tuple[tuple[int, int | None], ...]
    tag: int


class RlimitWrite(FileOp, frozen=True, tag="rlimit_write"):
    """`pwrite(2)` with RLIMIT_FSIZE = `limit` and SIGXFSZ ignored."""

    WORD = "rlimit_write"
    limit: int
    off: int
    len: int
    tag: int


class QuotaSet(Op, frozen=True, tag="quota_set"):
    """Set the hard block limit of a user, in KiB."""

    WORD = "quota_set"
    uid: int
    hard: int


class Chown(FileOp, frozen=True, tag="chown"):
    """`fchown(2)` to `uid`."""

    WORD = "chown"
    uid: int


class UserWrite(RangeOp, frozen=True, tag="user_write"):
    """`pwrite(2)` with effective uid and gid = `uid`."""

    WORD = "user_write"
    tag: int
    uid: int


class SyncWrite(RangeOp, frozen=True, tag="sync_write"):
    """`pwrite(2)` on a descriptor opened `O_SYNC`."""

    WORD = "pwrite_osync"
    tag: int


class DsyncWrite(RangeOp, frozen=True, tag="dsync_write"):
    """`pwrite(2)` on a descriptor opened `O_DSYNC`."""

    WORD = "pwrite_odsync"
    tag: int


class Seek(FileOp, frozen=True, tag="seek"):
    """SEEK_DATA and SEEK_HOLE over the file; the result is `[[start, end], ...]` of the data."""

    WORD = "seek"


class RemountOpts(Op, frozen=True, tag="remount_opts"):
    """`mount(2)` with MS_REMOUNT | MS_NOATIME and these options."""

    WORD = "remount_opts"
    opts: Options


class Shutdown(Op, frozen=True, tag="shutdown"):
    """EXT4_IOC_SHUTDOWN on the root directory (0 default, 1 log flush, 2 no log flush)."""

    WORD = "shutdown"
    flags: int


class SetFlags(FileOp, frozen=True, tag="setflags"):
    """Append-only 0x20, immutable 0x10; replaces both."""

    WORD = "setflags"
    flags: int


class Sendfile(RangeOp, frozen=True, tag="sendfile"):
    """`sendfile(2)` from `file` at `off` to `to` at `dst`."""

    WORD = "sendfile"
    to: FileName
    dst: int


class Splice(RangeOp, frozen=True, tag="splice"):
    """`splice(2)` from `file` to `to` through a pipe, in pieces of 64 KiB."""

    WORD = "splice"
    to: FileName
    dst: int


class WriteZeroes(RangeOp, frozen=True, tag="write_zeroes"):
    """`fallocate(2)`, FALLOC_FL_WRITE_ZEROES (0x80)."""

    WORD = "write_zeroes"


class MsyncWrite(RangeOp, frozen=True, tag="msync_write"):
    """`MmapWrite`, then `msync(MS_SYNC)` of the mapping."""

    WORD = "mwrite_msync"
    tag: int


FIRST_TABLE: tuple[type[Op], ...] = (
    Write, Append, WriteFault, Read, DioWrite, MmapWrite, MmapIn,
    Falloc, FallocKeep, Punch, Zero, ZeroKeep, Collapse, Insert,
    Truncate, Fsync, Fdatasync, Close, Otrunc, Sync, DropCaches, Remount,
    SyncRange, Unlink, Rename, CopyRange,
)  # fmt: skip
SECOND_TABLE: tuple[type[Op], ...] = (
    Pwritev, RlimitWrite, QuotaSet, Chown, UserWrite, SyncWrite, DsyncWrite, Seek,
    RemountOpts, Shutdown, SetFlags, Sendfile, Splice, WriteZeroes, MsyncWrite,
)  # fmt: skip

Call = (
    Write | Append | WriteFault | Read | DioWrite | MmapWrite | MmapIn
    | Falloc | FallocKeep | Punch | Zero | ZeroKeep | Collapse | Insert
    | Truncate | Fsync | Fdatasync | Close | Otrunc | Sync | DropCaches | Remount
    | SyncRange | Unlink | Rename | CopyRange
    | Pwritev | RlimitWrite | QuotaSet | Chown | UserWrite | SyncWrite | DsyncWrite | Seek
    | RemountOpts | Shutdown | SetFlags | Sendfile | Splice | WriteZeroes | MsyncWrite
)  # fmt: skip
"""One system call, or what stands for one."""


class Parallel(Op, frozen=True, tag="parallel"):
    """Threads that each carry out their calls one after the other, against each other.

    `seed` perturbs the schedule in the guest. When all threads are done, sync(2) makes the
    section's end a quiescent point; the result is 0, those of the calls stand apart.
    `order` names the thread of each call in the order in which the model is to take them;
    without it, one thread after the other. What may stand in a section is told by
    `workloads.sections`.
    """

    WORD = "parallel"
    threads: tuple[tuple[Call, ...], ...]
    seed: int = 0
    order: tuple[int, ...] = ()


AnyOp = Call | Parallel

BY_WORD: dict[str, type[Op]] = {cls.WORD: cls for cls in FIRST_TABLE + SECOND_TABLE}
"""The system calls by the word that the text form has for them."""


def calls(ops: Iterable[AnyOp]) -> Iterator[Call]:
    """The system calls of a program, those in parallel sections too."""
    for op in ops:
        if isinstance(op, Parallel):
            for thread in op.threads:
                yield from thread
        else:
            yield op
