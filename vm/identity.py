"""Which kernel runs in a guest: what its files say, joined with what it says itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.trace import KernelFacts
from vm.channel import Row
from vm.errors import KernelError
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity

__all__ = ["config_file", "facts_of", "identify"]


def identify(kernel: Kernel, hello: Row) -> KernelIdentity:
    """The identity of `kernel`, which has booted and said `hello`.

    The build id is the running kernel's (/sys/kernel/notes). The configuration's hash is
    the running kernel's too if it keeps its configuration (/proc/config.gz), else that of
    the file beside the image. Raises `KernelError` if the files are of another kernel than
    the one that runs.
    """
    known = kernel.origin
    build_id = str(hello.get("build_id") or "")
    if known.build_id and build_id and known.build_id != build_id:
        raise KernelError(
            f"{kernel.image} has the build id {build_id}, but was built with {known.build_id}; "
            "build it again, or remove it with ext4diff kernel remove"
        )
    config = str(hello.get("config_sha256") or "") or known.config_sha256
    if not config:
        file = config_file(kernel)
        config = hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else ""
    return msgspec.structs.replace(
        known,
        release=str(hello["release"]),
        build_id=build_id or known.build_id,
        config_sha256=config,
        source=known.source or kernel.source,
    )


def config_file(kernel: Kernel) -> Path | None:
    """The .config that `kernel` was built with, where packages and build trees keep it."""
    return next((path for path in _config_files(kernel) if path.is_file()), None)


def _config_files(kernel: Kernel) -> Iterator[Path]:
    folders = [kernel.image.parent]
    if kernel.modules is not None:
        folders += [kernel.modules, *(parent / "boot" for parent in kernel.modules.parents[2:4])]
    for folder in folders:
        yield folder / f"config-{kernel.release}"
    for folder in folders[:2]:
        yield folder / "config"
    if kernel.image.parts[-4:-1] == ("arch", "x86", "boot"):
        yield kernel.image.parents[3] / ".config"


def facts_of(identity: KernelIdentity) -> KernelFacts:
    """What is known of a kernel, by name, as traces and reports carry it."""
    return {name: value for name, value in msgspec.structs.asdict(identity).items() if value}
