"""Why a kernel does not come up in the guest: its last words, and the option that it lacks."""

from __future__ import annotations

import re

from vm.console import Console
from vm.errors import KernelError
from vm.kernel import Kernel
from vm.log.lines import read_lines

__all__ = ["boot_failure", "lacking_error", "remedy"]

_LAST_LINES = 6
_REST = (
    "build one with our configuration (ext4diff kernel build tree:DIR), or with it merged into"
    " yours (... --config FILE)"
)
_REMEDIES = (
    (r"/dev/vda",
     "it does not see the guest's disk: CONFIG_VIRTIO_PCI=y and CONFIG_VIRTIO_BLK=y, or as"
     " modules in lib/modules beside the image"),
    (r"/sys/kernel/tracing|events/ext4",
     "it has no tracepoints of ext4: CONFIG_FTRACE=y and CONFIG_ENABLE_DEFAULT_TRACERS=y"),
    (r"virtio-ports|no virtio-serial port",
     "the agent's channel is missing: CONFIG_VIRTIO_PCI=y and CONFIG_VIRTIO_CONSOLE=y"),
    (r"mounting devtmpfs|/dev/console|unable to open an initial console",
     "CONFIG_DEVTMPFS=y is missing"),
    (r"mounting proc", "CONFIG_PROC_FS=y is missing"),
    (r"mounting sysfs", "CONFIG_SYSFS=y is missing"),
    (r"Failed to execute /init|No working init found|Requested init .* failed|error -8",
     "it cannot start the guest's programs: CONFIG_BLK_DEV_INITRD=y, CONFIG_BINFMT_ELF=y and"
     " CONFIG_BINFMT_SCRIPT=y on a 64-bit kernel"),
    (r"Unable to mount root fs|Cannot open root device|initrd.*not found",
     "it does not take the initramfs: CONFIG_BLK_DEV_INITRD=y is missing"),
    (r"fsopen|No such device.*ext4|unknown filesystem type|ENODEV",
     "it has no ext4: CONFIG_EXT4_FS=y is missing"),
    (r"Function not implemented|ENOSYS",
     "a system call is missing: CONFIG_FUTEX=y, CONFIG_EPOLL=y, CONFIG_TIMERFD=y and the like"),
    (r"Out of memory and no killable|System is deadlocked on memory",
     "the guest's memory is too small for it"),
)  # fmt: skip
"""What the console says, and what helps."""
_TOO_SLOW = re.compile(r"AE_AML_LOOP_TIMEOUT")
"""ACPI's interpreter gives a loop 30 s: on a busy host a kernel with many checks takes longer, and
then finds none of its devices."""


def remedy(console: str) -> str:
    """What to do about a kernel whose `console` ended like this."""
    if not console.strip():
        return (
            "it said nothing on its first serial line: CONFIG_SERIAL_8250_CONSOLE=y and, for a"
            " vmlinux, CONFIG_PVH=y; it must be a kernel for x86-64"
        )
    if _TOO_SLOW.search(console):
        return "it was so slow that it lost its devices: try again when the host is less busy"
    for pattern, words in _REMEDIES:
        if re.search(pattern, console):
            return f"{words}; or {_REST}"
    return _REST


def boot_failure(reason: str, console: Console) -> str:
    """The message for a kernel that did not come up: why, what to do, its last words."""
    text = console.text
    said = [line.text for line in read_lines([text]) if line.text.strip()]
    lines = [reason, f"what to do: {remedy(text)}"]
    if said:
        lines += ["its console ends with:", *(f"  {line}" for line in said[-_LAST_LINES:])]
    return "\n".join(lines)


def lacking_error(kernel: Kernel, what: str) -> KernelError:
    """The error for a `kernel` that has booted and lacks `what` every workload needs."""
    reason = f"no workload can run on {kernel.image}: the kernel lacks {what}"
    return KernelError(f"{reason}\nwhat to do: {remedy(what)}")
