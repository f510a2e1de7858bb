"""Sets of packages: a default kernel, and the programs of the guest, unpacked in the cache.

What was resolved once is remembered by name and version, so that later runs need neither
network nor apt. Packages are unpacked with `dpkg-deb -x`; nothing is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from vm import cache
from vm.apt import Archive, Package, progress
from vm.apt_sources import Distribution, chosen_mirror, find_distribution
from vm.errors import DownloadError, HostToolError, SuiteMissingError

__all__ = [
    "Unpacked",
    "cached",
    "closure",
    "into_cache",
    "kernel_packages",
    "remembered",
    "unpack",
    "unpacked_kernel",
    "unpacked_userland",
]

KERNEL_PART = re.compile(r"linux-(binary|image|modules|base)-(unsigned-)?\d.*")
"""The packages into which distributions split a kernel."""

_USERLAND_ROOTS = ("python3-minimal", "busybox-static", "xfsprogs", "e2fsprogs", "zstd")
# Python's standard library package is not a dependency of python3-minimal.
_USERLAND_FOLLOW = re.compile(
    r"python3(\.\d+)?(-minimal)?|lib(?!icu|sqlite|db5|ssl|readline).*|zlib1g"
)


class Unpacked(msgspec.Struct, frozen=True):
    """Packages unpacked into a cache entry (`kind/key`); `source` names them for reports."""

    entry: str
    source: str
    packages: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The directory that stands for `/`."""
        return cache.cache_root() / self.entry


def closure(archive: Archive, roots: Iterable[str], follow: re.Pattern[str]) -> list[Package]:
    """The newest `roots` in `archive` and what they depend on, as far as `follow` matches.

    A dependency that the archive lacks (a virtual package) is left out; a root that it
    lacks is a `DownloadError`.
    """
    found: dict[str, Package] = {}
    missing: set[str] = set()
    wanted = set(roots)
    while wanted:
        shown = archive.show(wanted)
        absent = wanted - shown.keys()
        if absent & set(roots):
            raise DownloadError(
                f"{archive.name} has no package {min(absent)}; choose another mirror"
            )
        missing |= absent
        found.update(shown)
        depends = {name for package in shown.values() for name in package.depends}
        wanted = {name for name in depends if follow.fullmatch(name)} - found.keys() - missing
    return [found[name] for name in sorted(found)]


def _version_key(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def kernel_packages(archive: Archive, distribution: str) -> list[Package]:
    """The packages of the newest kernel for virtual machines in `archive`; [] if none."""
    if distribution == "debian":
        metas = archive.search(r"linux-image-cloud-amd64")
    else:
        metas = archive.search(r"linux-image-virtual(-hwe-[0-9.]+(-edge)?)?")
    images = {
        name
        for meta in archive.show(metas).values()
        for name in meta.depends
        if re.fullmatch(r"linux-image-\d.*", name)
    }
    if not images:
        return []
    return closure(archive, [max(images, key=_version_key)], KERNEL_PART)


def unpack(archive: Archive, packages: list[Package], into: Path) -> None:
    """Download `packages` and unpack them into the directory `into`."""
    debs = into / ".debs"
    debs.mkdir()
    for deb in archive.download(packages, debs):
        try:
            done = subprocess.run(
                ["dpkg-deb", "-x", str(deb), str(into)],
                check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise HostToolError("dpkg-deb is missing; run: apt-get install dpkg") from None
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            if "No space left" in done.stderr:
                raise cache.full_error(cache.cache_root())
            raise DownloadError(f"cannot unpack {deb.name}: {reason}")
    shutil.rmtree(debs)


def _note(request: str, mirror: str | None) -> Path:
    """The file that remembers the answer to `request`."""
    key = cache.key_of(chosen_mirror(mirror))
    return cache.cache_root() / "resolved" / f"{request}-{key}.json"


def _recall(note: Path) -> Unpacked | None:
    try:
        unpacked = msgspec.json.decode(note.read_bytes(), type=Unpacked)
    except (OSError, msgspec.DecodeError):  # none, or an old or damaged one
        return None
    return unpacked if unpacked.path.is_dir() else None


def cached(request: str, mirror: str | None = None) -> Unpacked | None:
    """What the cache holds for `kernel` or `userland`; None if it would have to be fetched."""
    return _recall(_note(request, mirror))


def remembered(
    request: str, refresh: bool, mirror: str | None, resolve: Callable[[Distribution], Unpacked]
) -> Unpacked:
    """The answer to `request` (part of a file's name) from the cache, or `resolve` it."""
    note = _note(request, mirror)
    with cache.locked(note.with_suffix(".lock")):
        unpacked = None if refresh else _recall(note)
        if unpacked is not None:
            return unpacked
        unpacked = resolve(find_distribution(mirror))
        with cache.disk_errors(note.parent):
            temporary = note.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(unpacked))
            temporary.replace(note)
        return unpacked


def into_cache(kind: str, archive: Archive, packages: list[Package], source: str) -> Unpacked:
    """`packages`, downloaded and unpacked into a cache entry of `kind` if they are not yet."""
    specs = tuple(package.spec for package in packages)
    key = cache.key_of(*specs)
    cache.entry(kind, key, lambda into: unpack(archive, packages, into))
    cache.prune(kind, keep=3, days=30)
    archive.tidy()
    return Unpacked(f"{kind}/{key}", source, specs)


def unpacked_kernel(mirror: str | None = None, refresh: bool = False) -> Unpacked:
    """The newest kernel of the distribution, unpacked; from the cache unless `refresh`."""

    def resolve(distribution: Distribution) -> Unpacked:
        for archive in distribution.kernels:
            try:
                archive.update()
            except SuiteMissingError as error:
                progress(f"this mirror has no {archive.name}")
                failures.append(error)
                continue
            packages = kernel_packages(archive, distribution.name)
            if packages:
                image = next(p for p in packages if p.name.startswith("linux-image-"))
                source = f"{distribution.name}:{archive.name} {image.name} {image.version}"
                return into_cache("kernels", archive, packages, source)
            progress(f"{archive.name} has no kernel for virtual machines")
        if failures:
            raise failures[0]
        raise DownloadError(
            f"no suite of {distribution.name} has a kernel for virtual machines; use --kernel"
        )

    failures: list[SuiteMissingError] = []
    return remembered("kernel", refresh, mirror, resolve)


def unpacked_userland(mirror: str | None = None, refresh: bool = False) -> Unpacked:
    """Python, busybox, xfs_io and their libraries for the guest, unpacked."""

    def resolve(distribution: Distribution) -> Unpacked:
        archive = distribution.userland
        archive.update()
        python = archive.show(["python3-minimal"]).get("python3-minimal")
        versions = (
            [name for name in python.depends if name.startswith("python3.")] if python else []
        )
        if not versions:
            raise DownloadError(f"{archive.name} has no Python 3; choose another mirror")
        stdlib = f"lib{versions[0].removesuffix('-minimal')}-stdlib"
        packages = closure(archive, [*_USERLAND_ROOTS[1:], versions[0], stdlib], _USERLAND_FOLLOW)
        return into_cache("userlands", archive, packages, f"{distribution.name}:{archive.name}")

    return remembered("userland", refresh, mirror, resolve)
