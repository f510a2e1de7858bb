"""Decompression of kernels and modules in the formats that distributions use."""

from __future__ import annotations

import lzma
import subprocess
import zlib
from collections.abc import Sequence

from vm.errors import KernelError

__all__ = ["MAGIC", "decompress"]

MAGIC = {
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x5d\0\0": "lzma",
}
"""How compressed data starts; lz4 is the legacy frame that the kernel's build uses."""


def decompress(data: bytes, zstd: Sequence[str] = ("zstd",)) -> bytes:
    """`data` decompressed, or as it is if it is in no known format.

    Bytes after the compressed stream are ignored (the kernel's build appends the size).
    `zstd` is the command that runs the zstd program. Raises `KernelError` if the data are
    damaged or there is no such program.
    """
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")
    try:
        if kind in ("xz", "lzma"):
            return lzma.LZMADecompressor().decompress(data)
        if kind == "gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)
    except (lzma.LZMAError, zlib.error) as error:
        raise KernelError(f"damaged {kind} data: {error}") from error
    if kind in ("zstd", "lz4"):
        return _by_program(data, [*zstd, "-dcq", f"--format={kind}"])
    return data


def _by_program(data: bytes, command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False)
    except OSError:
        raise KernelError("the zstd program is missing; run: apt-get install zstd") from None
    # Trailing bytes make the program fail after all output is written.
    if not done.stdout:
        reason = done.stderr.decode(errors="replace").strip()
        raise KernelError(f"damaged compressed data: {reason or 'zstd gave nothing'}")
    return done.stdout
