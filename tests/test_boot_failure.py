"""A kernel that does not come up is told with the reason, the remedy and its last words."""

from __future__ import annotations

import pytest

from vm.boot_failure import boot_failure, remedy


class FakeConsole:
    def __init__(self, text: str) -> None:
        self.text = text


PANIC = (
    "[    0.1] Linux version 7.3.4\r\n"
    '[    0.5] VFS: Cannot open root device "" or unknown-block(0,0): error -6\r\n'
    "[    0.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
    "[    0.6] ---[ end Kernel panic - not syncing: VFS ]---\r\n"
)


def test_the_last_words_follow_the_reason_and_the_remedy() -> None:
    lines = boot_failure("the kernel does not boot here: x", FakeConsole(PANIC)).splitlines()  # type: ignore[arg-type]
    assert lines[0] == "the kernel does not boot here: x"
    assert lines[1].startswith("what to do: it does not take the initramfs: CONFIG_BLK_DEV_INITRD")
    assert lines[2] == "its console ends with:"
    assert lines[3] == "  Linux version 7.3.4"
    assert lines[-1] == "  ---[ end Kernel panic - not syncing: VFS ]---"


@pytest.mark.parametrize(
    ("console", "option"),
    [
        ("", "CONFIG_SERIAL_8250_CONSOLE"),
        ("[Errno 2] No such file or directory: '/sys/class/virtio-ports'", "CONFIG_VIRTIO_CONSOLE"),
        ("OSError: [Errno 19] mounting devtmpfs on /dev", "CONFIG_DEVTMPFS"),
        ("Kernel panic - not syncing: Requested init /init failed (error -8).", "CONFIG_BINFMT"),
        ('    fd = libc.fsopen("ext4")\nOSError: [Errno 19] No such device', "CONFIG_EXT4_FS"),
        ("/dev/vda", "CONFIG_VIRTIO_BLK"),
        ("/sys/kernel/tracing/instances/ext4diff", "CONFIG_ENABLE_DEFAULT_TRACERS"),
        (
            "ACPI Error: Aborting method _PRT due to previous error (AE_AML_LOOP_TIMEOUT)",
            "less busy",
        ),
        ("something that nobody foresaw", "ext4diff kernel build"),
    ],
)
def test_each_cause_has_its_remedy(console: str, option: str) -> None:
    assert option in remedy(console)
