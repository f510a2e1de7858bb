"""Kernel modules for the guest: which, in which order, from a tree of any distribution.

Dependencies are read from each module's `.modinfo`, because packages that were unpacked
and not installed have no `modules.dep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vm import elf
from vm.decompress import decompress
from vm.errors import KernelError

__all__ = ["GROUPS", "REQUIRED", "ModuleTree"]

GROUPS: dict[str, tuple[str, ...]] = {
    "block": ("virtio_pci", "virtio_blk", "virtio_console", "ext4"),
    "net": ("virtio_net", "configfs", "netconsole"),
    "quota": ("quota_v2",),
}
"""Modules by what the guest needs them for."""

REQUIRED = ("block",)
"""Groups without which no workload can run."""


def _plain(name: str) -> str:
    """A module's name as the kernel writes it (file names may have hyphens)."""
    return name.replace("-", "_")


@dataclass
class ModuleTree:
    """The directory `lib/modules/RELEASE`; `zstd` is the command for .ko.zst files."""

    path: Path
    zstd: Sequence[str] = ("zstd",)
    _files: dict[str, Path] = field(init=False)
    _builtin: set[str] | None = field(init=False)
    _content: dict[str, bytes] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._files = {
            _plain(file.name.split(".ko")[0]): file
            for file in sorted(self.path.rglob("*.ko*"))
            if file.name.endswith((".ko", ".ko.xz", ".ko.zst", ".ko.gz"))
        }
        try:
            lines = (self.path / "modules.builtin").read_text().split()
            self._builtin = {_plain(Path(line).stem) for line in lines}
        except OSError:
            self._builtin = None

    def content(self, name: str) -> bytes:
        """The plain .ko of module `name`."""
        if name not in self._content:
            data = decompress(self._files[name].read_bytes(), self.zstd)
            if not elf.is_elf(data):
                raise KernelError(f"{self._files[name]} is no kernel module")
            self._content[name] = data
        return self._content[name]

    def load_order(self, names: Sequence[str]) -> list[str]:
        """`names` and what they depend on, dependencies first, built-in ones left out.

        A name that is neither a file nor built in is a `KernelError`.
        """
        order: list[str] = []
        for name in names:
            self._visit(_plain(name), order, ())
        return order

    def _visit(self, name: str, order: list[str], path: tuple[str, ...]) -> None:
        if name in order or name in path:
            return
        if name not in self._files:
            if self._builtin is None or name in self._builtin:
                return
            raise KernelError(
                f"the kernel has no {name}, neither built in nor as a module in {self.path}"
            )
        info = elf.modinfo(self.content(name))
        depends = ",".join(info.get("depends", [])).split(",")
        for depend in filter(None, depends):
            self._visit(_plain(depend), order, (*path, name))
        order.append(name)

    def groups(self) -> dict[str, list[str]]:
        """The load order of each group; a group that is not required may be missing."""
        found: dict[str, list[str]] = {}
        for group, names in GROUPS.items():
            try:
                found[group] = self.load_order(names)
            except KernelError:
                if group in REQUIRED:
                    raise
        return found
