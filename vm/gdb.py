"""QEMU's stub for gdb, and what gdb has to be told: where it is, which symbols there are.

The stub listens on a Unix socket that has no name any more: gdb reaches it by way of this
process's descriptor in /proc, which only the same user may follow (whoever reaches a stub
controls the guest and QEMU's monitor), and nothing is left behind however this process ends.
gdb's commands are in anonymous memory, reached the same way.
"""

from __future__ import annotations

import os
import socket
from types import MappingProxyType

from vm.gdb_symbols import Symbols
from vm.qemu import Devices
from vm.scratch import scratch
from vm.shell import Sections

__all__ = ["Stub"]

MARK = "tracing_mark_write"
"""The kernel's function that is called just before each step of a recorded workload."""
_SECTIONS = (".data", ".bss", ".rodata", ".init.text")
"""Sections of a module, beside `.text`, of which gdb has to know the place."""


class Stub:
    """A stub for the machine that gets `devices`, and the `symbols` that its gdb is given.

    With `held` gdb also starts the machine.
    """

    def __init__(self, symbols: Symbols | None, *, held: bool = False) -> None:
        self._symbols = symbols
        self._script = os.memfd_create("ext4diff-gdb", os.MFD_CLOEXEC)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with scratch() as folder:
            path = folder / "gdb"
            self._listening.bind(str(path))
            self._listening.listen(1)
            self._place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        number = self._listening.fileno()
        chardev = f"socket,id=gdb,fd={number},server=on,wait=off"
        self.devices = Devices(("-chardev", chardev, "-gdb", "chardev:gdb"), (number,), held=held)

    @property
    def address(self) -> str:
        """What gdb's `target remote` takes, as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._place}"

    def line(
        self, sections: Sections = MappingProxyType({}), stop_before: int | None = None
    ) -> tuple[str, list[str]]:
        """The line to type in another terminal, and the commands that its gdb begins with.

        `sections` say where the running kernel's modules are. Of a machine that marks its
        steps, `continue` then goes to step `stop_before` (from 0).
        """
        commands = _commands(self.address, self._symbols, sections)
        if stop_before is not None and self._symbols is not None:
            commands += [f"break {MARK}", f"ignore $bpnum {stop_before}"]
        os.ftruncate(self._script, 0)
        os.pwrite(self._script, "".join(f"{text}\n" for text in commands).encode(), 0)
        return f"gdb -x /proc/{os.getpid()}/fd/{self._script}", commands

    def close(self) -> None:
        """Stop listening."""
        self._listening.close()
        os.close(self._place)
        os.close(self._script)


def _commands(address: str, symbols: Symbols | None, sections: Sections) -> list[str]:
    """What gdb is told first; without symbols it knows no names."""
    commands = ["set pagination off"]
    if symbols is None:
        commands.append("set architecture i386:x86-64")
    else:
        commands.append(f"file {symbols.vmlinux}")
    commands.append(f"target remote {address}")
    for module, file in symbols.modules.items() if symbols is not None else ():
        places = sections.get(module, {})
        if ".text" in places:
            others = [f"-s {name} {places[name]:#x}" for name in _SECTIONS if name in places]
            words = [f"add-symbol-file {file} {places['.text']:#x}", *others]
            commands.append(" ".join(words))
    return commands
