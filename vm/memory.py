"""A guest's memory as a file without a name, and that file packed.

Most of a guest's memory is filled with one byte (see the agent's `poison_memory`) or zero;
only the other pages are kept.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator

import msgspec

from vm.errors import MachineryError
from vm.zstd import zstd

__all__ = ["Memory", "Packed"]

_PAGE = 4096
_POISON = 0xAA
_FILLED = {"zero": bytes(_PAGE), "poison": bytes([_POISON]) * _PAGE}
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 1,  # higher ones take a tenth less space
    zstd.CompressionParameter.checksum_flag: 1,
}


class Packed(msgspec.Struct, frozen=True):
    """`runs` are kinds (`zero`, `poison`, `data`) with their pages, in order; `data` holds
    the pages of that kind, compressed and with a checksum."""

    runs: list[tuple[str, int]]
    data: bytes


class Memory:
    """`size` bytes, zero at first, a multiple of the page. QEMU opens it by `path`.

    Raises `MachineryError` if the host has not that much. `close` frees it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        try:
            self._fd = os.memfd_create("ext4diff-memory", os.MFD_CLOEXEC)
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise MachineryError(f"no memory for a guest of {size} bytes: {error}") from error

    @property
    def path(self) -> str:
        """A name under which this process's children can open it."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def pack(self) -> Packed:
        """All that it holds."""
        with mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ) as pages:
            kinds = [_kind(pages[at : at + _PAGE]) for at in range(0, self.size, _PAGE)]
            runs = [(kind, len(list(group))) for kind, group in itertools.groupby(kinds)]
            data = b"".join(
                pages[at : at + length] for kind, at, length in _placed(runs) if kind == "data"
            )
        return Packed(runs, zstd.compress(data, options=_OPTIONS))

    @classmethod
    def unpack(cls, packed: Packed) -> Memory:
        """Memory that holds what was packed. Raises `ValueError` if that is damaged."""
        try:
            data = memoryview(zstd.decompress(packed.data))
        except zstd.ZstdError as error:
            raise ValueError(f"the pages are damaged: {error}") from error
        sizes = dict.fromkeys((*_FILLED, "data"), 0)
        for kind, count in packed.runs:
            sizes[kind] = sizes.get(kind, 0) + count * _PAGE
        if len(sizes) != 3 or sizes["data"] != len(data):
            raise ValueError("the pages are not those that the list names")
        memory = cls(sum(sizes.values()))
        with mmap.mmap(memory._fd, memory.size) as pages:
            for kind, at, length in _placed(packed.runs):
                if kind == "poison":
                    pages[at : at + length] = _FILLED[kind] * (length // _PAGE)
                elif kind == "data":
                    pages[at : at + length] = data[:length]
                    data = data[length:]
        return memory

    def close(self) -> None:
        """Free it once no QEMU has it any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _kind(page: bytes) -> str:
    return next((kind for kind, filled in _FILLED.items() if page == filled), "data")


def _placed(runs: list[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Kind, offset and length in bytes of each run."""
    at = 0
    for kind, count in runs:
        yield kind, at, count * _PAGE
        at += count * _PAGE
