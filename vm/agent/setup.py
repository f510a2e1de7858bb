"""Makes the guest ready: pseudo file systems, modules, writeback only on demand, memory."""

from __future__ import annotations

import errno
import os

from . import libc
from .kernel_files import write_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "find_port", "knows_mount_option", "let_slices_end_at_ticks", "load_modules", "mount_all",
    "poison_memory", "set_writeback_on_demand",
]  # fmt: skip

MODULES = "/usr/lib/modules"
_loaded: set[str] = set()
"""Groups, and files of modules."""
MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("configfs", "/sys/kernel/config"),
    ("tmpfs", "/tmp"),  # with a limit of its own
)
OPTIONAL = ("debugfs", "tracefs", "configfs", "tmpfs")
SETTINGS = (
    ("/proc/sys/vm/dirty_writeback_centisecs", "0"),
    ("/proc/sys/vm/dirty_expire_centisecs", "360000"),
    ("/proc/sys/vm/dirty_background_ratio", "80"),
    ("/proc/sys/vm/dirty_ratio", "90"),
    ("/proc/sys/kernel/panic", "0"),
    ("/proc/sys/kernel/hung_task_timeout_secs", "60"),
    ("/proc/sys/kernel/hung_task_warnings", "-1"),
    # else it depends on a page's generation whether drop_caches marks it
    ("/sys/kernel/mm/lru_gen/enabled", "0"),
)
POISON = 0xAA
SPARE_KIB = 32 << 10
"""Memory left alone when the rest is poisoned, so that nothing is killed for lack of it."""


def mount_all(kinds: Iterable[str] | None = None) -> None:
    """Mount the pseudo file systems (of `kinds`, or all); already mounted ones are kept."""
    for kind, target in MOUNTS:
        if kinds is not None and kind not in kinds:
            continue
        try:
            libc.mount(kind, target, kind, 0, "")
        except OSError as error:
            missing = error.errno in (errno.ENODEV, errno.ENOENT) and kind in OPTIONAL
            if error.errno != errno.EBUSY and not missing:
                raise OSError(error.errno, f"mounting {kind} on {target}") from error


def load_modules(group: str, parameters: dict[str, str] | None = None) -> None:
    """Load the modules of `group` in the order of the file `order`, and remove their files.

    `parameters` maps a module's name to its parameters. A group is loaded once: the kernel
    checks a module's signature before it says that it has it already.
    """
    if group in _loaded:
        return
    with open(f"{MODULES}/order") as lines:
        names = [line.split()[1] for line in lines if line.split()[0] == group]
    for name in names:
        if name in _loaded:  # of another group, too
            continue
        path = f"{MODULES}/{name}"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.finit_module(fd, (parameters or {}).get(name.removesuffix(".ko"), ""))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise OSError(error.errno, f"loading module {name}") from error
        finally:
            os.close(fd)
        os.unlink(path)  # else drop_caches would pass through its pages
        _loaded.add(name)
    _loaded.add(group)


def set_writeback_on_demand() -> None:
    """No writeback but by the workload's own calls; a panic stays (panic=0); one way of
    keeping pages in order of use."""
    for path, value in SETTINGS:
        write_if_there(path, value)


def let_slices_end_at_ticks() -> None:
    """On one CPU, where nothing runs but what the agent waits for: no timer for the end of each
    slice of the scheduler (HRTICK). To set one is an exit from an emulated guest, at each change
    of threads, and has its host's main loop at work."""
    if os.cpu_count() == 1:
        write_if_there("/sys/kernel/debug/sched/features", "NO_HRTICK")


def find_port(name: str) -> str:
    """The device of the virtio-serial port called `name`; `FileNotFoundError` if none is."""
    base = "/sys/class/virtio-ports"
    for port in os.listdir(base):
        with open(f"{base}/{port}/name") as file:
            if file.read().strip() == name:
                return f"/dev/{port}"
    raise FileNotFoundError(errno.ENOENT, f"no virtio-serial port is called {name}")


def knows_mount_option(option: str) -> bool:
    """Whether the kernel's ext4 knows the mount option `option`; nothing is mounted."""
    context = libc.fsopen("ext4")
    try:
        libc.fsconfig_flag(context, option)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    finally:
        os.close(context)
    return True


def poison_memory(spare_kib: int = SPARE_KIB) -> int:
    """Fill nearly all free memory with 0xAA and free it; the number of KiB filled.

    A page that the kernel later forgets to initialise then shows as 0xAA.
    """
    with open("/proc/meminfo") as lines:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    kib = sizes["MemFree"] - spare_kib
    if kib <= 0:
        return 0
    with libc.Buffer(kib << 10) as buffer:
        try:
            buffer.advise(libc.MADV_HUGEPAGE)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel without huge pages
                raise
        libc.memset(buffer, POISON)
    return kib
