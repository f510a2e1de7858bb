"""Building a kernel from its source, once: a second build of the same is a look-up."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vm import cache, elf
from vm.errors import CacheError
from vm.kernels import config, store
from vm.kernels.apply import apply_series
from vm.kernels.debian import debian_source
from vm.kernels.fetch import fetch_series
from vm.kernels.identity import KernelIdentity
from vm.kernels.make import Make
from vm.kernels.progress import progress
from vm.kernels.seeded import find_bug, seed
from vm.kernels.series import read_series
from vm.kernels.sources import Source, tree_source
from vm.kernels.spec import BugSpec, DebianSource, Flavour, SeriesSpec, SourceSpec, TreeSpec
from vm.kernels.store import Built
from vm.kernels.tools import Compiler, find_compiler, require_tools

__all__ = ["build", "source_of"]

_RECIPE = "1"
"""To be changed with what is built, or how, so that older results are not taken for it."""
NEEDED = {False: 3, True: 6}
"""GB of disk that a build takes, without and with debugging information."""
_KEPT, _DAYS = 20, 60.0
"""Built kernels that stay in the cache however long they were not used; and how long others do."""
_PRODUCTS = {
    "bzImage": "arch/x86/boot/bzImage",
    "vmlinux": "vmlinux",
    "System.map": "System.map",
    "config": ".config",
}


def source_of(spec: SourceSpec, mirror: str | None = None, refresh: bool = False) -> Source:
    """The source that `spec` names, series or bug applied; nothing is compiled.

    `mirror` and `refresh` are for what is fetched. Raises `KernelError`, `PatchError`,
    `DownloadError`, `CacheError`.
    """
    if isinstance(spec, TreeSpec):
        return tree_source(spec)
    if isinstance(spec, DebianSource):
        return debian_source(spec, mirror, refresh)
    if isinstance(spec, BugSpec):
        bug = find_bug(spec.name)
        return seed(source_of(spec.base, mirror, refresh), bug, spec.where)
    path = spec.mbox or fetch_series(spec.message_id, refresh)
    series = read_series(path, str(spec.mbox or spec.message_id))
    return apply_series(source_of(spec.base, mirror, refresh), series, spec.where)


def build(spec: SourceSpec, mirror: str | None = None, refresh: bool = False) -> Built:
    """The kernel that `spec` names, from the cache if the same was built before.

    Raises what `source_of` does, `HostToolError` for missing tools, and `BuildError`.
    """
    if isinstance(spec, SeriesSpec) and spec.mbox is not None:
        read_series(spec.mbox)  # a series with a gap is refused before anything is fetched
    flavour_key = config.config_key(spec.flavour)
    compiler = find_compiler()
    source = source_of(spec, mirror, refresh)
    key = cache.key_of(_RECIPE, source.tree, flavour_key, compiler.version, compiler.linker)
    path = cache.cache_root() / store.KIND / key
    if not path.is_dir():
        require_tools()
        with source.workshop.locked():
            cache.entry(store.KIND, key, _Job(spec, source, compiler, key).fill)
        cache.prune(store.KIND, keep=_KEPT, days=_DAYS)
    cache.touch(path)
    found = store.read_identity(path)
    if found is None:
        raise CacheError(f"{path} is damaged; `ext4diff kernel remove {key[:8]}` removes it")
    # The same content may have another name today; the store has the last one.
    named = msgspec.structs.replace(
        found, source=str(spec), base=source.base, series=source.series, flavour=spec.flavour.name
    )
    if named != found:
        store.write_identity(path, named)
    return Built(path, named)


@dataclass(frozen=True)
class _Job:
    """One build, with the lock of its workshop held."""

    spec: SourceSpec
    source: Source
    compiler: Compiler
    key: str

    @property
    def flavour(self) -> Flavour:
        return self.spec.flavour

    @property
    def _out(self) -> Path:
        """Where make works: one directory per flavour, so that the next build is short."""
        own = f"-{cache.key_of(str(self.flavour.config))[:8]}" if self.flavour.config else ""
        name = re.sub(r"[^\w.+-]", "_", self.flavour.name)
        return self.source.workshop.path / f"out-{name}{own}"

    def fill(self, into: Path) -> None:
        """Check out, configure, compile, and put what is kept into the empty `into`."""
        self._require_space()
        out = self._out
        out.mkdir(exist_ok=True)
        log = out / "build.log"
        log.unlink(missing_ok=True)
        shop = self.source.workshop
        progress(f"checking out {self.source.label}")
        shop.check_out(self.source.commit)
        make = Make(shop.tree, out, log, self.compiler)
        progress(f"configuring ({self.flavour.name})")
        config.write_config(out, self.flavour, make)
        self._check_config(out / ".config")
        progress(f"compiling with {self.compiler.version}; the log is {log}")
        make("bzImage", **self._variables())
        for name, product in _PRODUCTS.items():
            shutil.copyfile(out / product, into / name)
        shutil.copyfile(log, into / "build.log")
        identity = self._identity(out, into)
        store.write_identity(into, identity)
        progress(f"built {identity.release} ({self.key[:8]})")

    def _require_space(self) -> None:
        path = self.source.workshop.path
        needed, free = NEEDED[self.flavour.symbols], shutil.disk_usage(path).free
        if not self._out.exists() and free < needed * 10**9:
            raise CacheError(
                f"building takes {needed} GB and {path} has {free / 1e9:.1f} GB free; make room "
                "(`ext4diff kernel remove --sources` does), or set XDG_CACHE_HOME to another disk"
            )

    def _check_config(self, path: Path) -> None:
        repository, commit = self.source.workshop.repository, self.source.commit

        def knows(name: str) -> bool:
            pattern = rf"^[[:space:]]*(menu)?config {name}$"
            files = ("--", "Kconfig*", "*/Kconfig*")
            return repository.git().run("grep", "-qE", pattern, commit, *files).returncode == 0

        absent = config.missing_options(path, self.flavour, knows)
        if absent:
            progress(f"this kernel is built without {config.describe(absent, knows)}")

    def _variables(self) -> dict[str, str]:
        """Of make: nothing of the host or the day goes into the kernel; its key goes in."""
        return {
            "LOCALVERSION": f"-{self.key[:8]}",
            "KBUILD_BUILD_TIMESTAMP": "Sat Jan  1 00:00:00 UTC 2000",
            "KBUILD_BUILD_USER": "ext4diff",
            "KBUILD_BUILD_HOST": "ext4diff",
            "KBUILD_BUILD_VERSION": "1",
        }

    def _identity(self, out: Path, into: Path) -> KernelIdentity:
        return KernelIdentity(
            release=(out / "include/config/kernel.release").read_text().strip(),
            build_id=elf.build_id((into / "vmlinux").read_bytes()),
            # as /proc/config.gz of the running kernel has it
            config_sha256=hashlib.sha256((into / "config").read_bytes()).hexdigest(),
            source=str(self.spec),
            base=self.source.base,
            series=self.source.series,
            compiler=self.compiler.version,
            flavour=self.flavour.name,
        )
