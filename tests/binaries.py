"""Small ELF files and kernel images, made here, for tests of what reads them."""

from __future__ import annotations

import struct


def make_elf(**sections: bytes) -> bytes:
    """A 64-bit ELF file with these sections (`_` in a name stands for `.`)."""
    names = {name.replace("_", ".", 1): data for name, data in sections.items()}
    table = b"\0" + b"".join(name.encode() + b"\0" for name in [*names, ".shstrtab"])
    names[".shstrtab"] = table
    body = b""
    headers = [bytes(64)]
    for name, data in names.items():
        offset = 64 + len(body)
        place = table.index(b"\0" + name.encode() + b"\0") + 1
        headers.append(struct.pack("<IIQQQQIIQQ", place, 1, 0, 0, offset, len(data), 0, 0, 1, 0))
        body += data
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(headers),
        len(headers) - 1,
    )  # fmt: skip
    return head + body + b"".join(headers)


def make_module(name: str, depends: str = "") -> bytes:
    """A kernel module as far as its `.modinfo` goes."""
    return make_elf(_modinfo=f"license=GPL\0depends={depends}\0name={name}\0".encode())


def make_bzimage(release: str = "7.3.4-test", payload: bytes = b"") -> bytes:
    """The header of a bzImage (Documentation/arch/x86/boot.rst), and `payload` in its place."""
    image = bytearray(2 * 512)
    image[0x1F1] = 1  # setup sectors after the first
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, 0x300 - 0x200)
    version = f"{release} (someone@somewhere) #1 SMP\0".encode()
    image[0x300 : 0x300 + len(version)] = version
    struct.pack_into("<II", image, 0x248, 0, len(payload) + 4)
    return bytes(image) + payload + struct.pack("<I", 0)


def make_vmlinux(release: str = "7.3.4-test", pvh: bool = True) -> bytes:
    """A vmlinux with its banner, and the note that lets QEMU start it directly."""
    note = struct.pack("<III", 4, 8, 18 if pvh else 1) + b"Xen\0" + bytes(8)
    other = struct.pack("<III", 4, 3, 1) + b"GNU\0" + b"abc\0"
    banner = f"\0Linux version {release} (someone@somewhere) (gcc) #1\0".encode()
    return make_elf(_notes=other + note, _rodata=banner)
