"""Symbols of a kernel for gdb: the vmlinux beside it, or the distribution's debug package.

Debian's packages of debugging symbols are large (353 MB for a kernel of 2026), so that they
are only offered here, with the size that apt tells; `fetch` is for who has said yes. Of the
package only the vmlinux and the file system's modules are kept.
"""

from __future__ import annotations

import mmap
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import cache, elf
from vm.apt import Archive, Package
from vm.apt_sources import find_distribution
from vm.errors import DownloadError, HostToolError
from vm.kernel import Kernel

__all__ = ["Offer", "Symbols", "fetch", "find_symbols", "offer"]

KIND = "symbols"
_SOURCE = re.compile(r"debian:(\S+) (linux-image-\S+) (\S+)")
_WANTED = re.compile(r"\./usr/lib/debug/lib/modules/.*/(vmlinux|(ext4|jbd2|mbcache)\.ko)")


@dataclass(frozen=True)
class Symbols:
    """A vmlinux with its modules' files, by module."""

    vmlinux: Path
    modules: dict[str, Path]


@dataclass(frozen=True)
class Offer:
    """A package that has a kernel's symbols."""

    archive: Archive
    package: Package

    @property
    def megabytes(self) -> int:
        """What would be fetched, in MB."""
        return round(self.package.size / 1e6)


def find_symbols(kernel: Kernel, image: Path) -> Symbols | None:
    """The symbols of `kernel`, which boots as `image`, on this machine; None if there are none.

    A vmlinux counts if it has a symbol table, and the build id of `image` if that tells it.
    """
    build_id = _looked_at(image)[0]
    for path in _places(kernel):
        if path.is_file():
            own, named = _looked_at(path)
            if named and (not build_id or own == build_id):
                return Symbols(path, _modules(path))
    return None


def _places(kernel: Kernel) -> Iterator[Path]:
    yield kernel.image
    yield kernel.image.parent / "vmlinux"
    if kernel.image.parts[-4:-1] == ("arch", "x86", "boot"):
        yield kernel.image.parents[3] / "vmlinux"
    for root in (Path("/"), _entry(kernel)):
        yield root / f"usr/lib/debug/lib/modules/{kernel.release}/vmlinux"


def _entry(kernel: Kernel) -> Path:
    return cache.cache_root() / KIND / cache.key_of(kernel.source)


def _looked_at(path: Path) -> tuple[str, bool]:
    """The build id of a vmlinux ("" if it is none), and whether it has a symbol table."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return elf.build_id(data), bool(elf.section(data, ".symtab"))


def _modules(vmlinux: Path) -> dict[str, Path]:
    """The modules below the vmlinux of a debug package; others have none there."""
    if "debug" not in vmlinux.parts:
        return {}
    return {path.stem: path for path in vmlinux.parent.rglob("*.ko")}


def offer(kernel: Kernel, mirror: str | None = None) -> Offer | None:
    """The package with the symbols of a kernel of Debian; None if it is none, or has none.

    Asks apt, which may fetch a package list. Raises `DownloadError`.
    """
    match = _SOURCE.match(kernel.source)
    if match is None:
        return None
    suite, image, version = match.groups()
    for archive in find_distribution(mirror).kernels:
        if archive.name != suite:
            continue
        name = f"{image.removesuffix('-unsigned')}-dbg"
        found = archive.show([name])
        if not found:
            archive.update()
            found = archive.show([name])
        if name in found and found[name].version == version:
            return Offer(archive, found[name])
    return None


def fetch(kernel: Kernel, offered: Offer) -> None:
    """Fetch the package and keep what gdb needs of it. Raises `DownloadError`, `CacheError`."""
    cache.entry(KIND, _entry(kernel).name, lambda into: _fill(offered, into))
    cache.prune(KIND, keep=2, days=30)


def _fill(offered: Offer, into: Path) -> None:
    debs = into / ".debs"
    debs.mkdir()
    deb = offered.archive.download([offered.package], debs)[0]
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise HostToolError("dpkg-deb is missing; run: apt-get install dpkg") from None
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for member in tar:
            if _WANTED.fullmatch(member.name) and member.isfile():
                tar.extract(member, into, filter="data")
    if process.returncode != 0:
        raise DownloadError(f"cannot unpack {deb.name}: dpkg-deb failed")
    deb.unlink()
    debs.rmdir()
