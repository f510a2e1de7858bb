"""What `--kernel` takes, and the default kernel."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

from vm import elf
from vm.errors import KernelError
from vm.kernels.build import build
from vm.kernels.debian import stock_kernel
from vm.kernels.identity import KernelIdentity
from vm.kernels.spec import HELP, BuiltBefore, DebianPackage, PathSpec, needs_build, parse_spec
from vm.kernels.store import Built, find, read_identity
from vm.packages import Unpacked, unpacked_kernel
from vm.vmlinux import has_pvh_entry
from workloads.host_files import open_regular

__all__ = ["Kernel", "find_modules", "pinned", "read_release", "resolve_kernel"]

_MAGIC = b"HdrS"
_MAGIC_OFFSET = 0x202  # Documentation/arch/x86/boot.rst: "header"
_SETUP_SECTORS_OFFSET, _SYSSIZE_OFFSET = 0x1F1, 0x1F4
_VERSION_OFFSET = 0x20E  # "kernel_version", a pointer less 0x200
BZIMAGE = "arch/x86/boot/bzImage"
"""Where a build leaves it, from the top of its tree."""
_BANNER = re.compile(rb"Linux version ([0-9][^ \0\n]*) ")


@dataclass(frozen=True)
class Kernel:
    """A kernel to run in the guest.

    `image` is a bzImage or vmlinux, `modules` its `lib/modules/RELEASE` or None if
    everything is built in. `source` says where it came from: a package with version, or a
    path. `sha256` is the image's; `origin` is what is known of how it was made.
    """

    image: Path
    release: str
    modules: Path | None
    source: str
    sha256: str
    origin: KernelIdentity = field(default=KernelIdentity())

    @property
    def identity(self) -> str:
        """Tells kernels apart in reports and cache keys: the release and part of the hash."""
        return f"{self.release}-{self.sha256[:12]}"


def read_release(image: Path) -> str:
    """The release of a bzImage or vmlinux (`uname -r`); `KernelError` if it is neither."""
    try:
        with open_regular(image) as file:
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


def _kernel(
    image: Path, modules: Path | None, source: str, origin: KernelIdentity | None = None
) -> Kernel:
    release = read_release(image)
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known = origin or read_identity(image.parent) or KernelIdentity(release, source=source)
    return Kernel(image, release, modules, source, digest, known)


def _of_path(path: Path) -> Kernel:
    """A bzImage or vmlinux with its modules beside it, or a tree in which one was built."""
    if path.is_dir():
        image = path / BZIMAGE
        if not image.is_file():
            raise KernelError(
                f"{path} is a directory without {BZIMAGE}; build a kernel in it, or let it be "
                f"built elsewhere with tree:{path}"
            )
        return _kernel(image.resolve(), _modules_of_tree(path), str(path))
    if not path.exists():
        reason = os.strerror(errno.ENOENT)
        raise KernelError(f"cannot read the kernel {path}: {reason}; --kernel takes {HELP}")
    return _kernel(path.resolve(), find_modules(path, read_release(path)), str(path))


def _modules_of_tree(tree: Path) -> Path | None:
    """Where a kernel that was built in `tree` has its modules: there, or nowhere (None).

    Raises `KernelError` if it needs modules that were not built, or has no ext4.
    """
    config = _lines(tree / ".config")
    if config and not {"CONFIG_EXT4_FS=y", "CONFIG_EXT4_FS=m"} & config:
        raise KernelError(f"the kernel in {tree} was built without CONFIG_EXT4_FS")
    modules = _lines(tree / "modules.order")
    if not modules:
        return None
    absent = [name for name in modules if not (tree / name).with_suffix(".ko").is_file()]
    if absent:
        raise KernelError(
            f"{len(absent)} of the modules of the kernel in {tree} were not built; "
            f"run: make -C {tree} modules"
        )
    return tree


def _lines(path: Path) -> set[str]:
    try:
        return set(path.read_text("utf-8", "replace").split("\n")) - {""}
    except OSError:
        return set()


def _of_packages(unpacked: Unpacked) -> Kernel:
    """The kernel in unpacked packages of a distribution."""
    for pattern in ("usr/lib/modules/*/vmlinuz", "boot/vmlinuz-*"):
        for image in sorted(unpacked.path.glob(pattern)):
            return _kernel(image, find_modules(image, read_release(image)), unpacked.source)
    raise KernelError(f"the packages of {unpacked.source} hold no kernel image")


def _of_built(kernel: Built, source: str) -> Kernel:
    return _kernel(kernel.image, None, source, kernel.identity)


def resolve_kernel(spec: str | None, mirror: str | None = None, refresh: bool = False) -> Kernel:
    """The kernel that `spec` names (`vm.kernels.spec`), or None for the distribution's newest.

    It is fetched or built if need be, from `mirror` if one is given; `refresh` looks for
    newer packages than the cached. Raises `KernelError` if there is none or it does not
    build, and `DownloadError`, `HostToolError` or `CacheError` if it can't be had.
    """
    if spec is None:
        return _of_packages(unpacked_kernel(mirror, refresh))
    parsed = parse_spec(spec)
    if isinstance(parsed, PathSpec):
        return _of_path(parsed.path)
    if isinstance(parsed, DebianPackage):
        return _of_packages(stock_kernel(parsed, mirror, refresh))
    if isinstance(parsed, BuiltBefore):
        found = find(parsed.key)
        return _of_built(found, found.identity.source)
    return _of_built(build(parsed, mirror, refresh), str(parsed))


def pinned(spec: str | None, mirror: str | None = None, refresh: bool = False) -> str | None:
    """`spec`, or, if it names a source, the kernel that is built from it now (`built:KEY`).

    So that several processes test one kernel even if the source changes between them.
    Raises what `resolve_kernel` does.
    """
    if spec is None or not needs_build(spec):
        return spec
    return f"built:{resolve_kernel(spec, mirror, refresh).image.parent.name}"
