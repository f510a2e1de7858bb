"""What `--kernel` takes, and the default kernel."""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from vm import elf
from vm.errors import KernelError
from vm.packages import unpacked_kernel
from vm.vmlinux import has_pvh_entry

__all__ = ["Kernel", "find_modules", "read_release", "resolve_kernel"]

_MAGIC = b"HdrS"
_MAGIC_OFFSET = 0x202  # Documentation/arch/x86/boot.rst: "header"
_SETUP_SECTORS_OFFSET, _SYSSIZE_OFFSET = 0x1F1, 0x1F4
_VERSION_OFFSET = 0x20E  # "kernel_version", a pointer less 0x200
_BANNER = re.compile(rb"Linux version ([0-9][^ \0\n]*) ")


@dataclass(frozen=True)
class Kernel:
    """A kernel to run in the guest.

    `image` is a bzImage or vmlinux, `modules` its `lib/modules/RELEASE` or None if
    everything is built in. `source` says where it came from: a package with version, or a
    path. `sha256` is the image's.
    """

    image: Path
    release: str
    modules: Path | None
    source: str
    sha256: str

    @property
    def identity(self) -> str:
        """Tells kernels apart in reports and cache keys: the release and part of the hash."""
        return f"{self.release}-{self.sha256[:12]}"


def read_release(image: Path) -> str:
    """The release of a bzImage or vmlinux (`uname -r`); `KernelError` if it is neither."""
    try:
        with image.open("rb") as file:
            head = file.read(1 << 16)
        if head[_MAGIC_OFFSET : _MAGIC_OFFSET + 4] == _MAGIC:
            release = _release_of_bzimage(head)
            if release:
                _refuse_cut_bzimage(image, head)
        elif elf.is_elf(head):
            release = _release_of_vmlinux(image)
        else:
            release = ""
    except OSError as error:
        raise KernelError(f"cannot read the kernel {image}: {error.strerror}") from error
    if not release:
        raise KernelError(f"{image} is no kernel: neither an x86 bzImage nor a vmlinux")
    return release


def _release_of_bzimage(head: bytes) -> str:
    (pointer,) = struct.unpack_from("<H", head, _VERSION_OFFSET)
    text = head[pointer + 0x200 :].split(b"\0")[0] if pointer else b""
    words = text.decode("ascii", "replace").split()
    return words[0] if words else ""


def _refuse_cut_bzimage(image: Path, head: bytes) -> None:
    (paragraphs,) = struct.unpack_from("<I", head, _SYSSIZE_OFFSET)
    whole = ((head[_SETUP_SECTORS_OFFSET] or 4) + 1) * 512 + paragraphs * 16
    size = image.stat().st_size
    # syssize is rounded up; a signature may follow.
    if size <= whole - 16:
        raise KernelError(f"the kernel {image} is cut short: it has {size} of {whole} bytes")


def _release_of_vmlinux(image: Path) -> str:
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        match = _BANNER.search(data)
        if match is not None and not has_pvh_entry(data):
            raise KernelError(
                f"QEMU can't start {image}: it is a vmlinux without CONFIG_PVH; give the bzImage"
            )
        return match[1].decode("ascii", "replace") if match else ""


def find_modules(image: Path, release: str) -> Path | None:
    """The modules of `release` beside `image`, or those of the host if it runs that kernel."""
    parents = list(image.resolve().parents)[:3]
    candidates = [parent for parent in parents if parent.name == release]
    for parent in parents:
        for folder in ("lib/modules", "usr/lib/modules", "modules/lib/modules", "modules"):
            candidates.append(parent / folder / release)
        candidates.append(parent / "modules")
    candidates.append(Path("/lib/modules") / release)
    for candidate in candidates:
        if (candidate / "kernel").is_dir():
            return candidate
    return None


def _kernel(image: Path, modules: Path | None, source: str, release: str) -> Kernel:
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Kernel(image, release, modules, source, digest)


def resolve_kernel(spec: str | None, mirror: str | None = None, refresh: bool = False) -> Kernel:
    """The kernel that `spec` names: a path, or None for the distribution's newest.

    Raises `KernelError` if the file is no kernel, `DownloadError` or `CacheError` if the
    default kernel can't be had. `refresh` looks for a newer one than the cached.
    """
    if spec is not None:
        path = Path(spec).expanduser()
        if path.is_dir():
            raise KernelError(f"{spec} is a directory; --kernel takes a bzImage or a vmlinux")
        release = read_release(path)
        return _kernel(path.resolve(), find_modules(path, release), str(path), release)
    unpacked = unpacked_kernel(mirror, refresh)
    for pattern in ("usr/lib/modules/*/vmlinuz", "boot/vmlinuz-*"):
        for image in sorted(unpacked.path.glob(pattern)):
            release = read_release(image)
            modules = find_modules(image, release)
            return _kernel(image, modules, unpacked.source, release)
    raise KernelError(f"the packages of {unpacked.source} hold no kernel image")
