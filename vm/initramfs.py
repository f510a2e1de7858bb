"""The guest's initramfs: its programs, the agent and the kernel's modules in one archive."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vm import cache, cpio, guest_files
from vm.guest_files import Userland, agent_entries
from vm.kernel import Kernel
from vm.modules import ModuleTree
from vm.packages import unpacked_userland
from vm.vmlinux import boot_image

__all__ = ["BootFiles", "boot_files", "build_initramfs", "module_entries"]

_AGENT = Path(__file__).parent / "agent"


def module_entries(tree: ModuleTree | None) -> dict[str, cpio.Entry]:
    """`usr/lib/modules/NAME.ko` for the guest, and `usr/lib/modules/order`.

    Each line of `order` is a group and a file name, in load order. A file that two groups
    need is named in both. Without a `tree` everything is built in, and `order` is empty.
    """
    if tree is None:
        return {"usr/lib/modules/order": cpio.file(b"")}
    groups = tree.groups()
    lines = [f"{group} {name}.ko\n" for group, names in groups.items() for name in names]
    names = {name for group in groups.values() for name in group}
    found = {f"usr/lib/modules/{name}.ko": cpio.file(tree.content(name)) for name in names}
    return {**found, "usr/lib/modules/order": cpio.file("".join(lines).encode())}


def _key(userland: Userland, modules: Mapping[str, cpio.Entry], agent: Path) -> str:
    """A key of all that goes in, wherever on the host it lies."""
    parts: list[str | bytes] = [userland.library().name, *userland.packages.packages]
    for name, entry in sorted(modules.items()):
        parts += [name, entry.data]
    sources = [Path(module.__file__ or "") for module in (cpio, guest_files)]
    sources += [Path(__file__), *sorted(path for path in agent.rglob("*") if path.is_file())]
    for source in sources:
        if "__pycache__" not in source.parts:
            parts += [source.name, source.read_bytes()]
    return cache.key_of(*parts)


def build_initramfs(
    kernel: Kernel, agent: Path = _AGENT, mirror: str | None = None, refresh: bool = False
) -> Path:
    """The uncompressed initramfs for `kernel`, from the cache if it was built before.

    `agent` is the directory with the agent's sources and `init`. Raises `DownloadError`,
    `CacheError`, or `KernelError` if the kernel lacks a driver.
    """
    userland = Userland(unpacked_userland(mirror, refresh))
    tree = ModuleTree(kernel.modules, userland.zstd) if kernel.modules is not None else None
    modules = module_entries(tree)

    def fill(into: Path) -> None:
        entries = {**userland.entries(), **modules}
        entries["dev/console"] = cpio.device(5, 1)
        entries["dev/null"] = cpio.device(1, 3, 0o666)
        for folder in ("proc", "sys", "tmp", "mnt", "run"):
            entries[folder] = cpio.directory()
        scratch = into / "scratch"
        scratch.mkdir()
        entries |= agent_entries(userland, agent, scratch)
        shutil.rmtree(scratch)
        with (into / "initramfs.cpio").open("wb") as out:
            cpio.write_cpio(out, entries)

    path = cache.entry("initramfs", _key(userland, modules, agent), fill)
    cache.prune("initramfs", keep=4, days=1)
    return path / "initramfs.cpio"


@dataclass(frozen=True)
class BootFiles:
    """What QEMU gets: `kernel` for -kernel, `initramfs` for -initrd."""

    kernel: Path
    initramfs: Path


def boot_files(
    kernel: Kernel, agent: Path = _AGENT, mirror: str | None = None, refresh: bool = False
) -> BootFiles:
    """The initramfs for `kernel`, and its vmlinux if that boots (a second faster under TCG).

    Raises what `build_initramfs` raises.
    """
    initramfs = build_initramfs(kernel, agent, mirror, refresh)
    zstd = Userland(unpacked_userland(mirror)).zstd
    return BootFiles(boot_image(kernel.image, kernel.sha256, zstd), initramfs)
