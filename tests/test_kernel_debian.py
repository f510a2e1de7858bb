"""Debian's kernels by suite and version, and its source package as a repository."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from binaries import make_bzimage
from toy_kernel import FILES, fake_tools, script

from harness.errors import USAGE
from vm import packages
from vm.apt import Package
from vm.apt_sources import Distribution
from vm.errors import DownloadError, KernelError, SuiteMissingError
from vm.kernel import resolve_kernel
from vm.kernels.build import build, source_of
from vm.kernels.git import Repository
from vm.kernels.spec import DebianSource
from vm.kernels.tarball import import_tarball


def package(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, depends, 10)


def image(abi: str, version: str) -> Package:
    return package(f"linux-image-{abi}-cloud-amd64", version)


SUITES = {
    "new": [
        package("linux-image-cloud-amd64", "7.10.1-1", "linux-image-7.10.1+deb14-cloud-amd64"),
        image("7.10.1+deb14", "7.10.1-1"),
        image("7.3.4+deb14", "7.3.4-2"),
        package("linux-source-7.10", "7.10.1-1"),
    ],
    "old": [
        package("linux-image-cloud-amd64", "7.3.9-1", "linux-image-7.3.9+deb13-cloud-amd64"),
        image("7.3.9+deb13", "7.3.9-1"),
        image("7.3.4+deb13", "7.3.4-1~bpo13+1"),
        package("linux-source-7.3", "7.3.9-1"),
    ],
    "empty": [],
}


@dataclass(frozen=True)
class FakeArchive:
    """Suites with packages; what is downloaded is a name."""

    suites: tuple[str, ...]
    calls: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return ",".join(self.suites)

    def update(self) -> None:
        self.calls.append(f"update {self.name}")
        if self.name not in SUITES:
            raise SuiteMissingError(f"cannot fetch {self.name}")

    def _packages(self) -> list[Package]:
        return SUITES[self.name]

    def show(self, names: Iterable[str]) -> dict[str, Package]:
        wanted = set(names)
        return {found.name: found for found in self._packages() if found.name in wanted}

    def search(self, pattern: str) -> list[str]:
        import re  # noqa: PLC0415

        return [p.name for p in self._packages() if re.fullmatch(pattern, p.name)]

    def download(self, found: list[Package], into: Path) -> list[Path]:
        self.calls.append(f"download {' '.join(p.spec for p in found)}")
        files = [into / f"{p.name}_{p.version}.deb" for p in found]
        for file in files:
            file.touch()
        return files

    def tidy(self) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeArchive:
    """Debian with the suites `missing`, `new` and `old`; dpkg-deb unpacks `payload`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake_tools(tmp_path / "bin", monkeypatch)
    script(tmp_path / "bin/dpkg-deb", f'#!/bin/sh\ncp -r "{tmp_path}/payload/." "$3"\n')
    (tmp_path / "payload/boot").mkdir(parents=True)
    (tmp_path / "payload/boot/vmlinuz-x").write_bytes(make_bzimage("7.3.4-x"))
    top = FakeArchive(("new",))
    kernels = tuple(FakeArchive((name,), top.calls) for name in ("missing", "new", "old"))
    found = Distribution("debian", kernels, top)  # type: ignore[arg-type]
    monkeypatch.setattr(packages, "find_distribution", lambda mirror: found)
    return top


def tarball(folder: Path, name: str = "linux-source-7.3") -> Path:
    """A toy kernel as Debian packs one, with a link and a script."""
    file = folder / f"{name}.tar.xz"
    tree = folder / "unpacked" / name
    for path, text in FILES.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("fs/ext4")
    os.link(tree / "run.sh", tree / "second name.sh")
    with tarfile.open(file, "w:xz") as out:
        out.add(tree, name)
    return file


# --- stock kernels ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        ("new", "debian:new linux-image-7.10.1+deb14-cloud-amd64 7.10.1-1"),
        ("old", "debian:old linux-image-7.3.9+deb13-cloud-amd64 7.3.9-1"),
        ("7.10", "debian:new linux-image-7.10.1+deb14-cloud-amd64 7.10.1-1"),
        ("7.3", "debian:new linux-image-7.3.4+deb14-cloud-amd64 7.3.4-2"),
        ("7.3.9", "debian:old linux-image-7.3.9+deb13-cloud-amd64 7.3.9-1"),
        ("7.3.4+deb13", "debian:old linux-image-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1"),
        ("7.3.4-1~bpo13+1", "debian:old linux-image-7.3.4+deb13-cloud-amd64 7.3.4-1~bpo13+1"),
    ],
)
def test_a_stock_kernel_is_found_by_suite_or_version(
    archive: FakeArchive, wanted: str, source: str
) -> None:
    found = resolve_kernel(f"debian:{wanted}")
    assert (found.source, found.release) == (source, "7.3.4-x")
    before = len(archive.calls)
    assert resolve_kernel(f"debian:{wanted}") == found
    assert len(archive.calls) == before  # remembered


@pytest.mark.parametrize("wanted", ["7.1", "7.3.44", "8"])
def test_a_version_that_no_suite_has_is_refused_with_those_there_are(
    archive: FakeArchive, wanted: str
) -> None:
    with pytest.raises(KernelError, match=rf"have no kernel .* {wanted}; there are 7.10.1\+deb14"):
        resolve_kernel(f"debian:{wanted}")


def test_a_suite_without_kernels_or_that_does_not_exist_is_refused(archive: FakeArchive) -> None:
    with pytest.raises(KernelError, match="empty has no kernel for virtual machines"):
        resolve_kernel("debian:empty")
    with pytest.raises(SuiteMissingError):
        resolve_kernel("debian:hamm")


def test_on_ubuntu_debians_kernels_need_a_mirror(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ubuntu = Distribution("ubuntu", (archive,), archive)  # type: ignore[arg-type]
    monkeypatch.setattr(packages, "find_distribution", lambda mirror: ubuntu)
    for spec in ("debian:sid", "debian-source:7.3"):
        with pytest.raises(DownloadError, match="set EXT4DIFF_DEBIAN_MIRROR"):
            resolve_kernel(spec)


# --- the source package -------------------------------------------------------------------


@pytest.fixture
def packed(archive: FakeArchive, tmp_path: Path) -> FakeArchive:
    folder = tmp_path / "payload/usr/src"
    folder.mkdir(parents=True)
    tarball(tmp_path).rename(folder / "linux-source-7.3.tar.xz")
    return archive


def test_the_source_package_becomes_a_repository_once(packed: FakeArchive) -> None:
    source = source_of(DebianSource("7.3"))
    assert source.label == "debian-source:old linux-source-7.3 7.3.9-1"
    git = source.workshop.repository.git()
    lines = git.output("ls-tree", "-r", source.commit).splitlines()
    modes = {line.split("\t")[1]: line.split()[0] for line in lines}
    assert modes.keys() == FILES.keys() | {"run.sh", "second name.sh", "link"}
    assert (modes["run.sh"], modes["link"], modes["Makefile"]) == ("100755", "120000", "100644")
    assert modes["second name.sh"] == "100755"
    assert git.output("show", f"{source.commit}:fs/ext4/inode.c").startswith("line 1\nline 2\n")
    assert git.output("show", f"{source.commit}:link") == "fs/ext4"
    names = {path.name for path in source.workshop.path.iterdir()}
    assert names == {"git"}  # neither the package nor what was in it
    before = len(packed.calls)
    assert source_of(DebianSource("7.3")) == source
    assert len(packed.calls) == before


def test_a_kernel_is_built_from_the_source_package(packed: FakeArchive) -> None:
    kernel = build(DebianSource("7.3"))
    assert kernel.identity.source == "debian-source:7.3"
    assert b"line 5" in kernel.image.read_bytes()


def test_a_source_version_that_is_not_there_is_refused(packed: FakeArchive) -> None:
    with pytest.raises(KernelError, match=r"have no linux-source 7.1; there are 7.10, 7.3$") as e:
        source_of(DebianSource("7.1"))
    assert e.value.exit_status == USAGE


def test_the_repository_of_a_package_is_the_same_everywhere(tmp_path: Path) -> None:
    file = tarball(tmp_path)
    commits = set()
    for name in ("one", "two"):
        repository = Repository.create(tmp_path / name)
        import_tarball(repository, file, "refs/heads/package", "linux-source-7.3=7.3.9-1")
        commits.add(repository.git().output("rev-parse", "refs/heads/package"))
    assert len(commits) == 1


@pytest.mark.parametrize("keep", [0, 100, -50])
def test_a_damaged_package_leaves_nothing(packed: FakeArchive, tmp_path: Path, keep: int) -> None:
    file = tmp_path / "payload/usr/src/linux-source-7.3.tar.xz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DownloadError, match=r"linux-source-7.3.tar.xz is damaged: .*--refresh"):
        source_of(DebianSource("7.3"))
    assert not list((tmp_path / "cache/ext4diff/sources").glob("[!.]*"))
