"""What the running kernel can do, found by trying: nothing is believed from its version.

Each answer is a row of `has` (None: cannot be told) and `detail`, by the ability's name as
`vm/probe.py` lists it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from .context import errno_name
from .mounted import Mounted
from .quota import QuotaWarnings
from .setup import load_modules
from .tracing import EVENTS, TRACING, folio_orders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Answer = tuple[bool | None, str]

__all__ = ["LOOKS", "parse_targets", "probe"]

_LISTENER_SECONDS = 60.0
"""The time that the listener for quota warnings gets to start."""

DEBUG = "/sys/kernel/debug"
EXT4_IOC_GETSTATE = 0x40046629
EXT4_IOC_GET_ES_CACHE = 0xC020662A
DM_LIST_VERSIONS = 0xC138FD0D
DM_HEADER = 312
"""Bytes of `struct dm_ioctl`."""
WRITE = 4 << 20
"""Bytes of the write whose folios are looked at: twice a huge page."""


def probe(device: str, root: str, knows_iomap: bool) -> dict[str, Any]:
    """All answers; `device` holds an ext4 that may be written to, `root` is where to mount it.

    Raises `MountError` if the kernel does not mount it.
    """
    answers = {name: _tried(look) for name, look in LOOKS.items()}
    mounted = Mounted(device, root, "")
    mounted.mount()
    try:
        answers["es cache ioctl"] = _tried(lambda: _es_cache(root))
        answers["large folios, buffer_head"] = _tried(lambda: _folios(root))
    finally:
        mounted.umount()
    if knows_iomap:
        iomap = Mounted(device, root, "buffered_iomap")
        iomap.mount()
        try:
            answers["large folios, iomap"] = _tried(lambda: _folios(root))
        finally:
            iomap.umount()
    return {name: {"has": has, "detail": detail} for name, (has, detail) in answers.items()}


def _tried(look: Callable[[], Answer]) -> Answer:
    try:
        return look()
    except OSError as error:
        return None, f"could not be looked at: {errno_name(error)}"


def _exists(path: str, detail: str = "") -> Callable[[], Answer]:
    return lambda: (os.path.exists(path), detail)


# --- ext4 -------------------------------------------------------------------------------


def _es_cache(root: str) -> Answer:
    """EXT4_IOC_GET_ES_CACHE of a file with an extent, and EXT4_IOC_GETSTATE."""
    fd = os.open(f"{root}/es", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, b"x" * 4096)
        found = []
        request = bytearray(struct.pack("=QQLLLL", 0, 1 << 40, 0, 0, 8, 0) + bytes(8 * 56))
        for name, number, argument in (
            ("GET_ES_CACHE", EXT4_IOC_GET_ES_CACHE, request),
            ("GETSTATE", EXT4_IOC_GETSTATE, bytearray(4)),
        ):
            try:
                fcntl.ioctl(fd, number, argument)
            except OSError as error:
                if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                    raise
            else:
                found.append(name)
        return "GET_ES_CACHE" in found, ", ".join(found)
    finally:
        os.close(fd)


def _folios(root: str) -> Answer:
    """The orders of the folios that one large write makes."""
    path = f"{root}/folios"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        orders = folio_orders(lambda: os.write(fd, bytes(WRITE)), os.fstat(fd).st_ino)
    finally:
        os.close(fd)
        os.unlink(path)
    if not orders:
        return None, "the tracepoint mm_filemap_add_to_page_cache does not tell orders"
    largest = max(orders)
    return largest > 0, f"largest order {largest} ({4 << largest} KiB) in a write of 4 MiB"


def _tracepoints() -> Answer:
    there = [name for name in EVENTS.values() if os.path.exists(f"{TRACING}/events/ext4/{name}")]
    return len(there) == len(EVENTS), f"{len(there)} of {len(EVENTS)}: {', '.join(there) or 'none'}"


# --- beside it --------------------------------------------------------------------------


def _page_poison() -> Answer:
    """A parameter that no one in the kernel knows is put into the environment of PID 1."""
    with open("/proc/1/environ", "rb") as file:
        unknown = b"page_poison=" in file.read()
    with open("/proc/cmdline") as text:
        asked = "page_poison=1" in text.read()
    return asked and not unknown, "" if asked else "not asked for on the command line"


def _quota_netlink() -> Answer:
    load_modules("quota")
    if not os.path.exists("/proc/sys/fs/quota"):
        return False, "no quota at all"
    try:
        QuotaWarnings(_LISTENER_SECONDS).close()
    except TimeoutError as error:
        return False, f"not known: what listens to it is {error}"
    except OSError:
        return False, "quota, but no netlink family VFS_DQUOT"
    return True, "family VFS_DQUOT"


def _lru_gen() -> Answer:
    path = "/sys/kernel/mm/lru_gen/enabled"
    if not os.path.exists(path):
        return False, ""
    with open(path) as file:
        return True, f"enabled: {file.read().strip()} (the guest switches it off)"


def _targets() -> dict[str, str]:
    """The targets of device mapper that are there, with their versions."""
    path = "/dev/mapper/control"
    if not os.path.exists(path):
        return {}
    buffer = bytearray(1 << 14)
    struct.pack_into("=IIIII", buffer, 0, 4, 0, 0, len(buffer), DM_HEADER)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, DM_LIST_VERSIONS, buffer)
    finally:
        os.close(fd)
    return parse_targets(buffer)


def parse_targets(buffer: bytes | bytearray) -> dict[str, str]:
    """Names and versions in the answer to DM_LIST_VERSIONS.

    A `struct dm_ioctl`, whose fifth word says where the first `struct dm_target_versions`
    is; each tells how far it is to the next, 0 in the last.
    """
    found = {}
    (at,) = struct.unpack_from("=I", buffer, 16)
    while True:
        step, *version = struct.unpack_from("=IIII", buffer, at)
        name = bytes(buffer[at + 16 : buffer.index(0, at + 16)]).decode()
        found[name] = ".".join(map(str, version))
        if not step:
            return found
        at += step


def _target(name: str) -> Callable[[], Answer]:
    def look() -> Answer:
        version = _targets().get(name)
        return version is not None, f"version {version}" if version else ""

    return look


def _fault_injection() -> dict[str, Callable[[], Answer]]:
    names = ("failslab", "fail_page_alloc", "fail_make_request", "fail_function")
    return {name: _exists(f"{DEBUG}/{name}") for name in names}


def _symbol(*names: str) -> Callable[[], Answer]:
    """Whether the kernel has a function of one of these names."""

    def look() -> Answer:
        wanted = {name.encode() for name in names}
        with open("/proc/kallsyms", "rb") as lines:
            there = any(line.split()[2] in wanted for line in lines)
        return there, ""

    return look


def _config_gz() -> Answer:
    return os.path.exists("/proc/config.gz"), ""


LOOKS: dict[str, Callable[[], Answer]] = {
    "reservation tracepoints": _tracepoints,
    "debugfs": lambda: (os.path.ismount(DEBUG), ""),
    "page poison": _page_poison,
    "quota netlink": _quota_netlink,
    "mglru": _lru_gen,
    "dm-flakey": _target("flakey"),
    "dm-log-writes": _target("log-writes"),
    **_fault_injection(),
    "lockdep": _exists("/proc/lockdep"),
    "kasan": _symbol("kasan_report", "__kasan_check_read"),
    "kfence": _exists("/sys/module/kfence"),
    "config.gz": _config_gz,
}
"""What is looked at without a file system, by name."""
