"""Debian's kernels: stock ones by suite or version, and the package of their source.

Versions are looked for in the suites of `DEBIAN_KERNELS`, on the mirror that the host's
apt or the user names.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from vm import cache
from vm.apt import MIRROR_VARIABLE, Archive, Package
from vm.apt_sources import Distribution
from vm.errors import DownloadError, KernelError, SuiteMissingError
from vm.kernels.git import Repository
from vm.kernels.progress import progress
from vm.kernels.sources import KIND, Source, Workshop
from vm.kernels.spec import DebianPackage, DebianSource
from vm.kernels.tarball import import_tarball
from vm.packages import (
    KERNEL_PART,
    Unpacked,
    closure,
    into_cache,
    kernel_packages,
    remembered,
    unpack,
)

__all__ = ["debian_source", "stock_kernel"]

_IMAGE = re.compile(r"linux-image-(\d\S*)-cloud-amd64")
_SOURCE = re.compile(r"linux-source-(\d\S*)")


def _require_debian(distribution: Distribution, label: str) -> None:
    if distribution.name != "debian":
        raise DownloadError(
            f"{label} comes from Debian, and apt on this host knows only "
            f"{distribution.name.capitalize()}'s archive; set {MIRROR_VARIABLE} to the address "
            "of a Debian mirror"
        )


def _archives(distribution: Distribution) -> Iterator[Archive]:
    """The archives of the configured suites that the mirror has, with fresh lists."""
    missing: list[SuiteMissingError] = []
    for archive in distribution.kernels:
        try:
            archive.update()
        except SuiteMissingError as error:
            missing.append(error)
        else:
            yield archive
    if len(missing) == len(distribution.kernels):
        raise missing[0]


def _is_version(wanted: str, text: str) -> bool:
    """Whether `text` is the version `wanted`, or begins with all of it: 7.3 is 7.3.4-1."""
    return re.match(re.escape(wanted) + r"(?!\w)", text) is not None


def _find(
    distribution: Distribution, pattern: re.Pattern[str], wanted: str, what: str
) -> tuple[Archive, Package]:
    """The newest package of version `wanted` whose name matches; `KernelError` if none."""
    known: dict[str, None] = {}
    for archive in _archives(distribution):
        names = archive.search(pattern.pattern)
        for package in sorted(archive.show(names).values(), key=_age, reverse=True):
            match = pattern.fullmatch(package.name)
            own = match[1] if match else ""
            if _is_version(wanted, own) or _is_version(wanted, package.version):
                return archive, package
            known[own] = None
    suites = ", ".join(archive.name for archive in distribution.kernels)
    raise KernelError(f"{suites} have no {what} {wanted}; there are {', '.join(known) or 'none'}")


def _age(package: Package) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", package.version)]


def stock_kernel(spec: DebianPackage, mirror: str | None, refresh: bool) -> Unpacked:
    """Debian's kernel for virtual machines of the suite or version, unpacked."""

    def of_suite(distribution: Distribution) -> tuple[Archive, list[Package]]:
        archive = dataclasses.replace(distribution.userland, suites=(spec.wanted,))
        archive.update()
        packages = kernel_packages(archive, "debian")
        if not packages:
            raise KernelError(f"{spec.wanted} has no kernel for virtual machines")
        return archive, packages

    def of_version(distribution: Distribution) -> tuple[Archive, list[Package]]:
        archive, image = _find(distribution, _IMAGE, spec.wanted, "kernel for virtual machines")
        return archive, closure(archive, [image.name], KERNEL_PART)

    def resolve(distribution: Distribution) -> Unpacked:
        _require_debian(distribution, str(spec))
        archive, packages = (of_version if spec.is_version else of_suite)(distribution)
        image = next(package for package in packages if package.name.startswith("linux-image-"))
        label = f"debian:{archive.name} {image.name} {image.version}"
        return into_cache("kernels", archive, packages, label)

    return remembered(f"kernel-{spec.wanted}", refresh, mirror, resolve)


def debian_source(spec: DebianSource, mirror: str | None, refresh: bool) -> Source:
    """The source that `spec` names, as the one commit of a repository in the cache."""

    def resolve(distribution: Distribution) -> Unpacked:
        _require_debian(distribution, spec.where)
        archive, package = _find(distribution, _SOURCE, spec.version, "linux-source")
        # a kernel does not build below a directory with a colon (an epoch)
        name = f"{package.name}_{package.version}".replace(":", "_")
        cache.entry(KIND, name, lambda into: _fill(archive, package, into))
        archive.tidy()
        label = f"debian-source:{archive.name} {package.name} {package.version}"
        return Unpacked(f"{KIND}/{name}", label, (package.spec,))

    unpacked = remembered(f"source-{spec.version}", refresh, mirror, resolve)
    shop = Workshop(unpacked.path)
    commit = shop.repository.git().output("rev-parse", "refs/heads/package")
    return Source(shop, commit, unpacked.source, commit)


def _fill(archive: Archive, package: Package, into: Path) -> None:
    """Download the source's package and put its content into a repository."""
    folder = into / "package"
    folder.mkdir()
    unpack(archive, [package], folder)
    tarballs = sorted(folder.glob("usr/src/linux-source-*.tar.xz"))
    if not tarballs:
        raise DownloadError(f"{package.spec} holds no usr/src/linux-source-*.tar.xz")
    repository = Repository.create(into / "git")
    progress(f"making a repository of {tarballs[0].name}")
    import_tarball(repository, tarballs[0], "refs/heads/package", package.spec)
    shutil.rmtree(folder)
