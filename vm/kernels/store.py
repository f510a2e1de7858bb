"""Kernels that were built: `built/KEY` in the cache, with all that a run or a debugger needs.

bzImage  vmlinux  System.map  config  identity.json  build.log
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vm import cache
from vm.errors import KernelError
from vm.kernels.identity import KernelIdentity
from vm.kernels.sources import KIND as SOURCES

__all__ = [
    "KIND",
    "Built",
    "built",
    "find",
    "read_identity",
    "remove",
    "source_sizes",
    "used_bytes",
]

KIND = "built"
IDENTITY = "identity.json"


@dataclass(frozen=True)
class Built:
    """A built kernel's directory, and what it is."""

    path: Path
    identity: KernelIdentity

    @property
    def key(self) -> str:
        """Its name in the cache; the first eight characters are in its release."""
        return self.path.name

    @property
    def image(self) -> Path:
        """The bzImage."""
        return self.path / "bzImage"


def read_identity(directory: Path) -> KernelIdentity | None:
    """The identity that a build left in `directory`; None if there is none that can be read."""
    try:
        return msgspec.json.decode((directory / IDENTITY).read_bytes(), type=KernelIdentity)
    except (OSError, msgspec.MsgspecError):
        return None


def write_identity(directory: Path, identity: KernelIdentity) -> None:
    """Write it whole, whoever reads it meanwhile."""
    with cache.disk_errors(directory):
        temporary = directory / f".{IDENTITY}.{os.getpid()}"
        temporary.write_bytes(msgspec.json.encode(identity))
        temporary.replace(directory / IDENTITY)


def built() -> Iterator[Built]:
    """All of them, the one used last first."""
    folder = cache.cache_root() / KIND
    if not folder.is_dir():
        return
    paths = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        identity = read_identity(path)
        if identity is not None:
            yield Built(path, identity)


def find(key: str) -> Built:
    """The one whose key begins with `key`. Raises `KernelError` if there is not just one."""
    found = [kernel for kernel in built() if kernel.key.startswith(key)]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(kernel.key for kernel in found)
        raise KernelError(f"several built kernels begin with {key}: {keys}")
    raise KernelError(f"no built kernel has the key {key}; `ext4diff kernel list` shows them")


def remove(path: Path) -> int:
    """Remove an entry of the cache; the bytes that this frees."""
    size = used_bytes(path)
    with cache.disk_errors(path.parent):
        hidden = path.with_name(f".{path.name}.gone")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)  # whoever looks sees it whole or not at all
        shutil.rmtree(hidden)
    return size


def used_bytes(path: Path) -> int:
    """What the directory `path` takes on disk, in bytes."""
    files = (file.lstat() for file in path.rglob("*"))
    return sum(status.st_blocks * 512 for status in files)


def source_sizes() -> dict[Path, int]:
    """The directories of the sources in the cache, with the bytes that they take."""
    folder = cache.cache_root() / SOURCES
    paths = sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")
    return {path: used_bytes(path) for path in paths}
