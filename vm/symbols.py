"""Source lines of a stack's frames, from the vmlinux beside the image if it has DWARF.

binutils' addr2line knows the line of an address, and System.map the address of a symbol;
the guest boots with nokaslr, so that a frame's address is its symbol's plus its offset.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.trace import Complaint
from vm.kernel import Kernel

__all__ = ["Symbols"]

_FRAME = re.compile(r"(?P<name>[\w.]+)\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+$")
_LINE = re.compile(r"(?P<file>[^?\s].*):(?P<line>\d+)")
_SECONDS = 120
_ANCHOR, _ANCHOR_FILE = "start_kernel", "init/main.c"
"""A function whose file's path tells where the kernel was built."""


class Symbols:
    """The vmlinux of a kernel and the addresses of its functions."""

    def __init__(self, vmlinux: Path, system_map: Path) -> None:
        self._vmlinux = vmlinux
        self._map = system_map
        self._addresses: dict[str, int] | None = None

    @classmethod
    def beside(cls, kernel: Kernel) -> Symbols | None:
        """Those of `kernel`, from where it was built; None if they are not there."""
        folders = [kernel.image.parent]
        if kernel.image.parts[-4:-1] == ("arch", "x86", "boot"):
            folders.append(kernel.image.parents[3])
        for folder in folders:
            vmlinux, system_map = folder / "vmlinux", folder / "System.map"
            if vmlinux.is_file() and system_map.is_file():
                return cls(vmlinux, system_map)
        return None

    def locate(self, complaints: Iterable[Complaint]) -> tuple[Complaint, ...]:
        """The same complaints, with `FILE:LINE` behind the frames of which it is known.

        Without addr2line or DWARF they stay as they are.
        """
        said = tuple(complaints)
        frames = {frame: at for c in said for frame in c.frames if (at := self._address(frame))}
        anchor = self._table().get(_ANCHOR) if frames else None
        if anchor is None:
            return said
        first, *others = self._lines([anchor, *frames.values()])
        if not first.split(":")[0].endswith(_ANCHOR_FILE):
            return said
        root = first[: first.rindex(_ANCHOR_FILE)]
        known = {
            frame: f"{frame} {line.removeprefix(root)}"
            for frame, line in zip(frames, others, strict=True)
            if line
        }
        return tuple(
            msgspec.structs.replace(c, frames=tuple(known.get(f, f) for f in c.frames))
            for c in said
        )

    def _table(self) -> dict[str, int]:
        """The address of each function whose name no other one has: static ones often share."""
        if self._addresses is None:
            rows = (line.split() for line in self._map.read_text().splitlines())
            functions = [(row[2], int(row[0], 16)) for row in rows if row[1] in "tTwW"]
            named = Counter(name for name, _ in functions)
            self._addresses = {name: at for name, at in functions if named[name] == 1}
        return self._addresses

    def _address(self, frame: str) -> int | None:
        """The address within the frame's call: one byte before where it returns to."""
        match = _FRAME.match(frame)
        start = self._table().get(match["name"]) if match is not None else None
        if match is None or start is None:
            return None
        return start + max(int(match["offset"], 16) - 1, 0)

    def _lines(self, addresses: list[int]) -> list[str]:
        """`FILE:LINE` of each address, empty where it is not known."""
        program = shutil.which("addr2line")
        if program is None:
            return [""] * len(addresses)
        command = [program, "-e", str(self._vmlinux), *map(hex, addresses)]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            return [""] * len(addresses)
        answers = done.stdout.splitlines()
        if len(answers) != len(addresses):
            return [""] * len(addresses)
        found = (_LINE.match(answer) for answer in answers)
        return [f"{match['file']}:{match['line']}" if match else "" for match in found]
