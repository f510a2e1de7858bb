"""Where packages come from, and what happens when they can't be had. apt itself is a fake."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from harness.errors import MACHINERY
from vm import packages
from vm.apt import Archive, parse_stanzas
from vm.apt_sources import DEBIAN_KERNELS, find_distribution, parse_sources
from vm.errors import CacheError, DownloadError, HostToolError, SuiteMissingError

DEBIAN_SOURCES = """\
# a comment: with a colon
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""

THIRD_PARTY = """\
deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example/debian/12/prod bookworm main
deb https://cloud.example/apt cloud-sdk-bookworm main
"""

UBUNTU_SOURCES = """\
Types: deb
URIs: http://ubuntu.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


class Host:
    """The files of a host that say where its packages come from."""

    def __init__(self, root: Path) -> None:
        self.etc = root / "etc/apt"
        self.keyrings = root / "keyrings"
        (self.etc / "sources.list.d").mkdir(parents=True)
        self.keyrings.mkdir()
        for name in ("debian", "ubuntu"):
            (self.keyrings / f"{name}-archive-keyring.gpg").touch()

    def source(self, name: str, text: str) -> Host:
        (self.etc / name).write_text(text)
        return self


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.delenv("EXT4DIFF_DEBIAN_MIRROR", raising=False)
    return Host(tmp_path / "host")


def test_debian_mirror_is_the_one_in_deb822_sources(host: Host) -> None:
    host.source("sources.list.d/debian.sources", DEBIAN_SOURCES)
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    assert found.name == "debian"
    assert [archive.name for archive in found.kernels] == list(DEBIAN_KERNELS)
    assert {archive.mirror for archive in (*found.kernels, found.userland)} == {
        "http://mirror.example/debian"
    }
    assert found.userland.keyring == host.keyrings / "debian-archive-keyring.gpg"


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/debian bookworm main contrib",
        "deb [ arch=amd64 trusted=no ] http://mirror.example/debian/ stable main # why not",
        "deb mirror+file:/etc/apt/mirrors/debian.list trixie-updates main",
    ],
)
def test_debian_mirror_is_the_one_in_one_line_sources(host: Host, line: str) -> None:
    host.source("sources.list", f"deb cdrom:[Debian]/ bookworm main\n{line}\n")
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    uri = re.search(r"(http\S+|mirror\S+)", line)
    assert uri and found.userland.mirror == uri[1]


def test_archives_of_others_are_not_taken_for_debian(host: Host) -> None:
    host.source("sources.list.d/a.list", THIRD_PARTY)
    with pytest.raises(DownloadError, match="EXT4DIFF_DEBIAN_MIRROR"):
        find_distribution(etc=host.etc, keyrings=host.keyrings)
    host.source("sources.list.d/debian.sources", DEBIAN_SOURCES)
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    assert found.userland.mirror == "http://mirror.example/debian"


def test_disabled_and_source_only_entries_are_ignored(host: Host) -> None:
    disabled = DEBIAN_SOURCES.replace("Components: main\nSigned", "Enabled: no\nSigned")
    host.source("sources.list.d/debian.sources", disabled)
    host.source("sources.list", "#deb http://a.example/debian bookworm main\ndeb-src x sid main\n")
    uris = [source.uri for source in parse_sources(host.etc)]
    assert uris == ["http://mirror.example/debian-security"]


def test_ubuntu_uses_its_own_archive(host: Host) -> None:
    host.source("sources.list.d/ubuntu.sources", UBUNTU_SOURCES)
    (host.etc.parent / "os-release").write_text('ID=ubuntu\nUBUNTU_CODENAME=noble\nA="b"\n')
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    assert found.name == "ubuntu"
    assert found.userland.suites == ("noble", "noble-updates")
    assert found.kernels == (found.userland,)
    assert found.userland.keyring.name == "ubuntu-archive-keyring.gpg"


def test_a_mirror_that_the_user_sets_goes_first(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.source("sources.list.d/ubuntu.sources", UBUNTU_SOURCES)
    monkeypatch.setenv("EXT4DIFF_DEBIAN_MIRROR", "http://mine.example/debian")
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    assert (found.name, found.userland.mirror) == ("debian", "http://mine.example/debian")
    other = find_distribution("http://flag.example/d", host.etc, host.keyrings)
    assert other.userland.mirror == "http://flag.example/d"


def test_missing_keys_are_named_with_the_package_that_has_them(host: Host) -> None:
    (host.keyrings / "debian-archive-keyring.gpg").unlink()
    with pytest.raises(DownloadError, match="apt-get install debian-archive-keyring"):
        find_distribution("http://mine.example/debian", host.etc, host.keyrings)


def test_no_mirror_address_is_written_into_the_project() -> None:
    root = Path(packages.__file__).parent.parent
    for folder in ("vm", "harness", "workloads", "model", "reports"):
        for file in (root / folder).rglob("*.py"):
            addresses = re.findall(r"\w+://[\w.-]*(?:debian|ubuntu)[\w./-]*", file.read_text())
            assert not addresses, file


# --- packages -----------------------------------------------------------------------------

STANZAS = """\
Package: linux-image-cloud-amd64
Version: 7.10.1-1
Depends: linux-image-7.9.9+deb13-cloud-amd64, linux-image-7.10.1+deb13-cloud-amd64 (= 7.10.1-1)

Package: linux-image-7.10.1+deb13-cloud-amd64
Version: 7.10.1-1
Size: 10
Pre-Depends: linux-base (>= 4.12~), linux-modules-7.10.1+deb13-cloud-amd64
Depends: dracut | initramfs-tools (>= 0.120), linux-binary-7.10.1+deb13-cloud-amd64 (= 7.10.1-1)

Package: linux-binary-7.10.1+deb13-cloud-amd64
Version: 7.10.1-1
Depends: linux-base-7.10.1+deb13-cloud-amd64 (= 7.10.1-1)
Size: 20

Package: linux-base-7.10.1+deb13-cloud-amd64
Version: 7.10.1-1
Size: 30

Package: linux-modules-7.10.1+deb13-cloud-amd64
Version: 7.10.1-1
Depends: kmod
Size: 40
Description: modules
 More: text

Package: linux-modules-7.10.1+deb13-cloud-amd64
Version: 7.10.0-1
Size: 40
"""

FAKE_APT = """\
#!/bin/sh
# A fake of apt-get and apt-cache: answers from files beside it.
here=$(dirname "$0")
echo "$(basename "$0") $*" >> "$here/calls"
for word; do case $word in
update) cat "$here/update.err" >&2; exit $(cat "$here/update.status");;
download)
    cat "$here/download.err" >&2; cp "$here"/debs/*.deb . ; exit $(cat "$here/download.status");;
show) cat "$here/stanzas"; exit 0;;
pkgnames) grep ^Package: "$here/stanzas" | cut -d' ' -f2; exit 0;;
esac; done
exit 9
"""

FAKE_DPKG_DEB = """\
#!/bin/sh
# dpkg-deb -x DEB DIRECTORY, of a "package" that is a text
cat "$2" >> "$3/unpacked"; exit $(cat "$(dirname "$0")/unpack.status")
"""


class FakeApt:
    """Scripts that stand in for apt and dpkg-deb, and what they answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "debs").mkdir(parents=True)
        for name in ("linux-base", "linux-binary", "linux-image", "linux-modules"):
            (root / "debs" / f"{name}_7.10.1-1_amd64.deb").write_text(f"{name}\n")
        for program in ("apt-get", "apt-cache"):
            self._script(program, FAKE_APT)
        self._script("dpkg-deb", FAKE_DPKG_DEB)
        self.set(stanzas=STANZAS, update_err="", update_status="0", download_err="")
        self.set(download_status="0", unpack_status="0")

    def _script(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o755)

    def set(self, **answers: str) -> None:
        for name, text in answers.items():
            (self.root / name.replace("_", ".")).write_text(text)

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def apt(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    fake = FakeApt(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.root}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    host.source("sources.list.d/debian.sources", DEBIAN_SOURCES)
    found = find_distribution(etc=host.etc, keyrings=host.keyrings)
    monkeypatch.setattr(packages, "find_distribution", lambda mirror: found)
    return fake


def test_stanzas_give_first_alternatives_and_newest_version_first() -> None:
    found = parse_stanzas(STANZAS)
    assert [package.version for package in found if "modules" in package.name] == [
        "7.10.1-1", "7.10.0-1",
    ]  # fmt: skip
    assert found[1].depends == ("linux-base", found[4].name, "dracut", found[2].name)
    assert found[1].size == 10


def test_the_default_kernel_is_the_newest_with_all_its_parts(apt: FakeApt) -> None:
    unpacked = packages.unpacked_kernel()
    assert "trixie-backports linux-image-7.10.1+deb13-cloud-amd64 7.10.1-1" in unpacked.source
    parts = [spec.split("-7")[0] for spec in unpacked.packages]
    assert parts == ["linux-base", "linux-binary", "linux-image", "linux-modules"]
    assert (unpacked.path / "unpacked").read_text().split() == parts
    assert not (unpacked.path / ".debs").exists()


def test_a_filled_cache_needs_neither_network_nor_apt(
    apt: FakeApt, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packages.cached("kernel") is None
    first = packages.unpacked_kernel()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert packages.unpacked_kernel() == packages.cached("kernel") == first
    assert packages.cached("userland") is None


def test_another_mirror_is_asked_anew(apt: FakeApt, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.unpacked_kernel()
    assert packages.cached("kernel", "http://other.example/debian") is None
    monkeypatch.setenv("EXT4DIFF_DEBIAN_MIRROR", "http://other.example/debian")
    assert packages.cached("kernel") is None


def test_a_damaged_note_is_asked_anew(apt: FakeApt, tmp_path: Path) -> None:
    first = packages.unpacked_kernel()
    for note in (tmp_path / "cache/ext4diff/resolved").glob("*.json"):
        note.write_text("{half")
    assert packages.unpacked_kernel() == first


def test_the_cache_may_be_moved(
    apt: FakeApt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.unpacked_kernel()
    (tmp_path / "cache").rename(tmp_path / "moved")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "moved"))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert (packages.unpacked_kernel().path / "unpacked").is_file()


def test_refresh_asks_the_archive_again(apt: FakeApt) -> None:
    packages.unpacked_kernel()
    before = len(apt.calls)
    packages.unpacked_kernel(refresh=True)
    asked = [line for line in apt.calls[before:] if " update" in line]
    assert asked
    assert not [line for line in apt.calls[before:] if " download" in line]


def test_without_network_one_line_says_what_to_do(apt: FakeApt) -> None:
    reason = "E: Failed to fetch http://x  Could not resolve 'x'\nE: Some index files failed\n"
    apt.set(update_status="100", update_err=reason)
    with pytest.raises(DownloadError) as caught:
        packages.unpacked_kernel()
    assert caught.value.exit_status == MACHINERY
    assert "Could not resolve 'x'; check the network" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(apt.calls) == 1  # no other suite is tried in vain


def test_other_suites_are_tried_only_if_the_mirror_lacks_one(apt: FakeApt) -> None:
    missing = "E: The repository 'http://x trixie-backports Release' does not have a Release file."
    apt.set(update_status="100", update_err=missing)
    with pytest.raises(SuiteMissingError):
        packages.unpacked_kernel()
    assert len(apt.calls) == len(DEBIAN_KERNELS)


def test_suites_without_a_kernel_are_named(apt: FakeApt) -> None:
    apt.set(stanzas="Package: hello\nVersion: 1\n")
    with pytest.raises(DownloadError, match="no suite of debian has a kernel"):
        packages.unpacked_kernel()


def test_a_failed_download_leaves_no_entry(apt: FakeApt, tmp_path: Path) -> None:
    apt.set(download_status="100", download_err="E: Failed to fetch x  Hash Sum mismatch\n")
    with pytest.raises(DownloadError, match="Hash Sum mismatch"):
        packages.unpacked_kernel()
    left = [path.name for path in (tmp_path / "cache/ext4diff/kernels").iterdir()]
    assert all(name.endswith(".lock") for name in left)
    apt.set(download_status="0")
    assert (packages.unpacked_kernel().path / "unpacked").is_file()


@pytest.mark.parametrize("when", ["update", "download"])
def test_a_full_disk_is_told_from_a_broken_network(apt: FakeApt, when: str) -> None:
    reason = "E: Error writing to file - write (28: No space left on device)\n"
    apt.set(**{f"{when}_status": "100", f"{when}_err": reason})
    with pytest.raises(CacheError, match=r"no space left .* set XDG_CACHE_HOME"):
        packages.unpacked_kernel()


def test_a_damaged_package_is_named(apt: FakeApt) -> None:
    apt.set(unpack_status="2")
    with pytest.raises(DownloadError, match=r"cannot unpack linux-base_7\.10\.1-1_amd64\.deb"):
        packages.unpacked_kernel()


def test_a_host_without_apt_is_told(apt: FakeApt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostToolError, match="apt-get is missing"):
        packages.unpacked_kernel()


def test_the_hosts_package_database_and_sources_are_left_alone(
    apt: FakeApt, tmp_path: Path
) -> None:
    """The configuration that apt gets, as the real apt-config understands it."""
    packages.unpacked_kernel()
    configuration = next((tmp_path / "cache/ext4diff/apt").glob("*/apt.conf"))
    dump = subprocess.run(
        ["apt-config", "-c", str(configuration), "dump"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    settings = dict(re.findall(r'^(\S+) "(.*)";$', dump, re.M))
    root = str(configuration.parent)
    assert settings["Dir::State"] == f"{root}/state"
    assert settings["Dir::State::status"] == f"{root}/status"
    assert settings["Dir::State::lists"].startswith(root)
    assert settings["Dir::Cache"] == f"{root}/cache"
    assert settings["Dir::Etc::sourcelist"] == f"{root}/sources.list"
    assert settings["Dir::Etc::sourceparts"] == "/dev/null"
    # The host's apt.conf.d stays, because proxies are set there.
    assert settings["Dir::Etc::parts"] == "apt.conf.d"
    assert "APT::Update::Post-Invoke::" not in settings
    source = (configuration.parent / "sources.list").read_text()
    assert "signed-by=" in source and "trusted" not in source


def test_archives_of_two_mirrors_do_not_share_state(tmp_path: Path, apt: FakeApt) -> None:
    keyring = tmp_path / "key.gpg"
    for mirror in ("http://a.example/debian", "http://b.example/debian"):
        Archive(mirror, ("trixie",), ("main",), keyring).update()
    assert len(list((tmp_path / "cache/ext4diff/apt").glob("*/sources.list"))) == 2
