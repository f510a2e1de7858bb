"""The vmlinux inside a bzImage: it boots faster where the guest's CPU is emulated.

QEMU starts an ELF kernel that has a PVH entry directly, so the guest neither decompresses
itself nor runs the real-mode set-up (Documentation/arch/x86/boot.rst: payload_offset,
payload_length; include/xen/interface/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from vm import cache, elf
from vm.decompress import decompress
from vm.errors import KernelError

__all__ = ["boot_image", "extract", "has_pvh_entry"]

_SETUP_SECTORS = 0x1F1
_MAGIC = (0x202, b"HdrS")
_PAYLOAD = 0x248
_PHYS32_ENTRY = 18


def has_pvh_entry(data: elf.Data) -> bool:
    """Whether QEMU can start the vmlinux `data` directly."""
    return elf.has_note(data, b"Xen", _PHYS32_ENTRY)


def extract(image: bytes, zstd: Sequence[str] = ("zstd",)) -> bytes | None:
    """The vmlinux in a bzImage, or None if there is none that QEMU can start directly."""
    offset, magic = _MAGIC
    if image[offset : offset + len(magic)] != magic:
        return None
    payload, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + payload
    try:
        # The last four bytes are the uncompressed size.
        data = decompress(image[start : start + length - 4], zstd)
    except KernelError:
        return None
    return data if has_pvh_entry(data) else None


def boot_image(image: Path, sha256: str, zstd: Sequence[str] = ("zstd",)) -> Path:
    """What to give to QEMU for the kernel `image`: its vmlinux from the cache, or itself."""

    def fill(into: Path) -> None:
        data = extract(image.read_bytes(), zstd)
        if data is not None:
            (into / "vmlinux").write_bytes(data)

    vmlinux = cache.entry("vmlinux", sha256[:24], fill) / "vmlinux"
    return vmlinux if vmlinux.is_file() else image
