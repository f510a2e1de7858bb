"""System calls that Python's `os` module lacks, by way of the C library.

Every function raises `OSError` with the call's errno. Offsets and lengths are bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MADV_HUGEPAGE", "MADV_POPULATE_WRITE", "MS_NOATIME", "MS_REMOUNT", "Buffer",
    "delete_module", "fallocate", "finit_module", "fsconfig_flag", "fsopen", "memset",
    "mount", "power_off", "pwrite_at", "pwritev_at", "read_some", "set_quota",
    "sync_file_range", "umount",
]  # fmt: skip

MS_REMOUNT = 32
MS_NOATIME = 1024
MADV_HUGEPAGE = 14
MADV_POPULATE_WRITE = 23

_PROT_NONE, _PROT_READ, _PROT_WRITE = 0, 1, 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 0x20
_MS_SYNC = 4
_FINIT_MODULE = {"x86_64": 313, "aarch64": 273}
_DELETE_MODULE = {"x86_64": 176, "aarch64": 106}
_FSOPEN, _FSCONFIG, _FSCONFIG_SET_FLAG = 430, 431, 0
_RB_POWER_OFF = 0x4321FEDC
_Q_SETQUOTA, _USRQUOTA, _QIF_BLIMITS = 0x800008, 0, 1

_libc = ctypes.CDLL(None, use_errno=True)
_int, _long, _size, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p
_string = ctypes.c_char_p

_libc.mmap.restype = _pointer
_libc.mmap.argtypes = (_pointer, _size, _int, _int, _int, _long)
_libc.munmap.argtypes = (_pointer, _size)
_libc.mprotect.argtypes = (_pointer, _size, _int)
_libc.madvise.argtypes = (_pointer, _size, _int)
_libc.msync.argtypes = (_pointer, _size, _int)
_libc.read.restype = _long
_libc.read.argtypes = (_int, _pointer, _size)
_libc.pwrite.restype = _long
_libc.pwrite.argtypes = (_int, _pointer, _size, _long)
_libc.pwritev.restype = _long
_libc.pwritev.argtypes = (_int, _pointer, _int, _long)
_libc.fallocate.argtypes = (_int, _int, _long, _long)
_libc.sync_file_range.argtypes = (_int, _long, _long, ctypes.c_uint)
_libc.mount.argtypes = (_string, _string, _string, ctypes.c_ulong, _string)
_libc.umount2.argtypes = (_string, _int)
_libc.reboot.argtypes = (ctypes.c_uint,)
_libc.quotactl.argtypes = (_int, _string, _int, _pointer)
_libc.syscall.restype = ctypes.c_long


def _checked(result: Any) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


_KEPT = 1 << 21
"""Bytes of an anonymous mapping that is kept for the next one of up to so many."""
_Kept = ctypes.c_char * _KEPT
_spare: list[int] = []


class Buffer:
    """A page-aligned private or shared mapping of `length` bytes at `address`.

    With `fd` it maps the file from byte `offset` (a multiple of the page size), shared;
    without, it is anonymous, and what is in it at first is not defined. `close` ends it; it is a
    context manager.
    """

    def __init__(self, length: int, fd: int = -1, offset: int = 0) -> None:
        self.length = max(length, 1)
        self._kept = fd < 0 and self.length <= _KEPT
        self._forbidden = False
        if self._kept and _spare:  # its pages are there already: no faults
            self.address: int = _spare.pop()
            return
        size = _KEPT if self._kept else self.length
        flags = _MAP_SHARED if fd >= 0 else _MAP_PRIVATE | _MAP_ANONYMOUS
        address = _libc.mmap(None, size, _PROT_READ | _PROT_WRITE, flags, fd, offset)
        if address == ctypes.c_void_p(-1).value:
            _checked(-1)
        self.address = address

    def store(self, data: bytes | memoryview, offset: int = 0) -> None:
        """Copy `data` into the mapping at byte `offset`."""
        if self._kept and offset + len(data) <= self.length:
            whole = memoryview(_Kept.from_address(self.address)).cast("B")
            whole[offset : offset + len(data)] = data  # memmove takes no views
        else:
            ctypes.memmove(self.address + offset, bytes(data), len(data))

    def forbid(self, start: int) -> None:
        """Make the pages from byte `start`, rounded down to 4096, unreadable."""
        start &= ~4095
        if start < self.length:
            self._forbidden = True
            _checked(_libc.mprotect(self.address + start, self.length - start, _PROT_NONE))

    def advise(self, advice: int, start: int = 0, length: int | None = None) -> None:
        """`madvise(2)` on `[start, start + length)`, by default all of it."""
        length = self.length - start if length is None else length
        _checked(_libc.madvise(self.address + start, length, advice))

    def msync(self) -> None:
        """`msync(MS_SYNC)` of the whole mapping."""
        _checked(_libc.msync(self.address, self.length, _MS_SYNC))

    def close(self) -> None:
        """Unmap, or keep for another one."""
        if not self._kept:
            _checked(_libc.munmap(self.address, self.length))
            return
        if self._forbidden:
            _checked(_libc.mprotect(self.address, _KEPT, _PROT_READ | _PROT_WRITE))
        _spare.append(self.address)

    def __enter__(self) -> Buffer:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def memset(buffer: Buffer, value: int) -> None:
    """Fill the whole mapping with the byte `value`."""
    ctypes.memset(buffer.address, value, buffer.length)


_READ = ctypes.create_string_buffer(1 << 16)


def read_some(fd: int, length: int) -> bytes | None:
    """`read(2)` of up to `length` bytes, 65536 at the most; None where it would block.

    `os.read` raises an exception then, which takes as long as all the rest.
    """
    done = _libc.read(fd, _READ, min(length, len(_READ)))
    if done == -1 and ctypes.get_errno() == errno.EAGAIN:
        return None
    return ctypes.string_at(_READ, _checked(done))


def pwrite_at(fd: int, address: int, length: int, offset: int) -> int:
    """`pwrite(2)` from a memory address; returns the bytes written."""
    return _checked(_libc.pwrite(fd, address, length, offset))


def pwritev_at(fd: int, parts: list[tuple[int, int]], offset: int) -> int:
    """`pwritev(2)` from `(address, length)` parts; returns the bytes written."""
    vector = (_size * (2 * len(parts)))()
    for index, (address, length) in enumerate(parts):
        vector[2 * index] = address
        vector[2 * index + 1] = length
    return _checked(_libc.pwritev(fd, ctypes.addressof(vector), len(parts), offset))


def fallocate(fd: int, mode: int, offset: int, length: int) -> int:
    """`fallocate(2)`."""
    return _checked(_libc.fallocate(fd, mode, offset, length))


def sync_file_range(fd: int, offset: int, length: int, flags: int) -> int:
    """`sync_file_range(2)`."""
    return _checked(_libc.sync_file_range(fd, offset, length, flags))


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """`mount(2)`."""
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()))


def power_off() -> None:
    """`reboot(2)`: end the machine; only PID 1 comes back from it, if it fails."""
    _checked(_libc.reboot(_RB_POWER_OFF))


def umount(target: str) -> None:
    """`umount2(2)` without flags."""
    _checked(_libc.umount2(target.encode(), 0))


def set_quota(device: str, uid: int, hard: int) -> int:
    """`quotactl(Q_SETQUOTA)`: the hard block limit of user `uid` in KiB; no soft limit."""
    dqblk = (ctypes.c_uint64 * 9)()  # struct if_dqblk: 8 counters, then the valid flags
    dqblk[0] = hard
    dqblk[8] = _QIF_BLIMITS
    command = _int((_Q_SETQUOTA << 8 | _USRQUOTA) & 0xFFFFFFFF).value
    return _checked(_libc.quotactl(command, device.encode(), uid, ctypes.addressof(dqblk)))


def finit_module(fd: int, parameters: str = "") -> None:
    """`finit_module(2)`: load the module behind `fd`."""
    number = _FINIT_MODULE[os.uname().machine]
    _checked(_libc.syscall(_long(number), _long(fd), _string(parameters.encode()), _long(0)))


def delete_module(name: str) -> None:
    """`delete_module(2)`: unload the module `name`."""
    number = _DELETE_MODULE[os.uname().machine]
    _checked(_libc.syscall(_long(number), _string(name.encode()), _long(os.O_NONBLOCK)))


def fsopen(kind: str) -> int:
    """`fsopen(2)`: a context to configure a mount of file system `kind`."""
    return _checked(_libc.syscall(_long(_FSOPEN), _string(kind.encode()), _long(0)))


def fsconfig_flag(context: int, option: str) -> None:
    """`fsconfig(FSCONFIG_SET_FLAG)`: EINVAL if the file system does not know `option`."""
    key = _string(option.encode())
    call = (_long(_FSCONFIG), _long(context), _long(_FSCONFIG_SET_FLAG), key, _pointer(), _long(0))
    _checked(_libc.syscall(*call))
