"""Folders for what is needed on the way, which go with who made them, or with the next command.

A process that is killed can't remove its folder. So each holds a lock (flock) on a file in its
own, which the kernel lets go when the process is over, however it ended; who makes a folder first
removes those that nobody holds, with the semaphores that are named after them. A folder without
that file is left alone: it is somebody else's, or about to be removed by its owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing import process
from pathlib import Path
from typing import Any

__all__ = ["scratch", "semaphores_named", "sweep"]

_PREFIX = "ext4diff-"
_LOCK = "lock"
_INSIDE = "files"
_SEMAPHORES = Path("/dev/shm")
"""Where glibc has semaphores with names (sem_overview(7)), `sem.` before their names."""
_NAMED = "semprefix"
"""How multiprocessing calls what their names begin with."""


@contextlib.contextmanager
def scratch(kind: str = "") -> Iterator[Path]:
    """An empty folder in the temporary directory, which is removed at the end; `kind` is a part of
    its name, for people. Folders of processes that are gone are removed first.

    Raises `OSError` if there is no room for it.
    """
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-" if kind else _PREFIX))
    try:
        (folder / _INSIDE).mkdir()
        with _locked_from_the_start(folder):
            try:
                yield folder / _INSIDE
            finally:
                _remove(folder)
    finally:
        with contextlib.suppress(OSError):  # it is gone, or what was in it could not be removed
            folder.rmdir()


@contextlib.contextmanager
def _locked_from_the_start(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, whose file nobody sees before it is held."""
    new = folder / f"{_LOCK}.new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        new.rename(folder / _LOCK)
        yield
    finally:
        os.close(fd)


def sweep(root: Path | None = None) -> list[Path]:
    """Remove our folders in `root` (the temporary directory) whose owners are gone; which."""
    swept = []
    for lock in (root or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:  # another user's, or just gone
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                for semaphore in _SEMAPHORES.glob(f"sem.{lock.parent.name}-*"):
                    semaphore.unlink(missing_ok=True)
                _remove(lock.parent)
                swept.append(lock.parent)
                lock.parent.rmdir()
    return swept


def _remove(folder: Path) -> None:
    """Remove what is in `folder`, of which the lock is held; the lock's file only if all else is
    gone, so that somebody tries again."""
    inside = folder / _INSIDE
    shutil.rmtree(inside, ignore_errors=True)
    if not inside.exists():
        (folder / _LOCK).unlink(missing_ok=True)


@contextlib.contextmanager
def semaphores_named(inside: Path) -> Iterator[None]:
    """Have the semaphores that multiprocessing makes for this process meanwhile named after the
    scratch that `inside` is. Its own tracker removes them, unless it is killed, too."""
    config: Any = getattr(process.current_process(), "_config", {})
    before = config.get(_NAMED)
    config[_NAMED] = f"/{inside.parent.name}"
    try:
        yield
    finally:
        config[_NAMED] = before
