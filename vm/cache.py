"""The cache directory: what was downloaded or built once, and is only read afterwards.

An entry is a directory `KIND/KEY` below `$XDG_CACHE_HOME/ext4diff`. It is filled in a
temporary directory beside it and then renamed, so that an entry is whole or absent, even
after Ctrl-C or on a full disk. A lock file per entry makes parallel workers wait for the
first instead of filling it twice.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vm.errors import CacheError

__all__ = [
    "NEEDED_MB",
    "cache_root",
    "disk_errors",
    "entry",
    "full_error",
    "key_of",
    "locked",
    "prune",
    "this_boot",
    "touch",
]

NEEDED_MB = 800
"""Disk space that all entries of a usual run take: 220 MB of packages, 64 MB an image."""


def cache_root() -> Path:
    """The cache directory, created if need be; `CacheError` if that is impossible."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = (Path(base) if base.startswith("/") else Path("~/.cache").expanduser()) / "ext4diff"
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        # Reading the directory tells an unreadable cache from an empty one.
        next(root.iterdir(), None)
    return root


def full_error(where: Path) -> CacheError:
    """The error to raise when the disk that holds `where` is full."""
    return CacheError(
        f"no space left on the disk of {where}; "
        f"free {NEEDED_MB} MB there, or set XDG_CACHE_HOME to a directory with more"
    )


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `CacheError` that says what to do about it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full_error(where) from error
        reason = error.strerror or str(error)
        raise CacheError(
            f"cannot use the cache {where}: {reason}; "
            "set XDG_CACHE_HOME to a directory that you can write to"
        ) from error


def key_of(*parts: str | bytes) -> str:
    """A short content key (hex) of `parts`; their boundaries count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:24]


def this_boot() -> str:
    """A word for the time since the host booted, as part of a key."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (created, never removed); waits for it."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def entry(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The directory of entry `KIND/KEY`; `fill` is called with an empty one if there is none.

    Whatever `fill` raises leaves no trace of the entry.
    """
    parent = cache_root() / kind
    path = parent / key
    if path.is_dir():
        touch(path)
        return path
    with locked(parent / f".{key}.lock"):
        if path.is_dir():
            return path
        temporary = parent / f".{key}.new"
        with disk_errors(parent):
            shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
            try:
                temporary.mkdir()
                fill(temporary)
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    return path


def touch(path: Path) -> None:
    """Note that an entry was used, which keeps it from being pruned."""
    with contextlib.suppress(OSError):
        os.utime(path)


def prune(kind: str, keep: int, days: float) -> None:
    """Remove entries of `kind` unused for `days`, except the `keep` newest.

    What time it is the file system says, as of the entries: a process whose clock is ahead would
    take what others use for long unused.
    """
    with contextlib.suppress(OSError):
        with tempfile.TemporaryFile(dir=cache_root() / kind) as file:
            limit = os.fstat(file.fileno()).st_mtime - days * 86400
        entries = [path for path in (cache_root() / kind).iterdir() if path.name[0] != "."]
        entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in entries[keep:]:
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
