"""What the host must have, and how it gets there. apt-get and sudo are fakes."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import MACHINERY
from vm import host_tools
from vm.errors import HostToolError
from vm.host_tools import ensure_host_tools, find_program, missing_packages

BOTH = "apt-get install -y --no-install-recommends e2fsprogs qemu-system-x86"

APT_GET = """\
#!/bin/sh
echo "$* $DEBIAN_FRONTEND" >> "{root}/calls"
case "$*" in
*update*) : > "{root}/lists";;
*install*)
    if [ -e "{root}/broken" ]; then echo "E: Unable to locate package" >&2; exit 100; fi
    if [ ! -e "{root}/lists" ]; then echo "E: no lists" >&2; exit 100; fi
    for program in qemu-system-x86_64 mke2fs e2fsck debugfs; do
        echo '#!/bin/sh' > "{root}/$program"; chmod +x "{root}/$program"
    done;;
esac
"""
SUDO = """\
#!/bin/sh
[ "$1" = -n ] || exit 9
[ -e "{root}/allowed" ] || {{ echo "sudo: a password is required" >&2; exit 1; }}
shift; exec "$@"
"""


class FakeHost:
    """A host whose PATH holds a shell's basics and what a test puts there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        for tool in ("sh", "env", "chmod", "true"):
            (root / tool).symlink_to(f"/bin/{tool}")

    def add(self, name: str, text: str = "#!/bin/sh\n") -> None:
        (self.root / name).write_text(text.format(root=self.root))
        (self.root / name).chmod(0o755)

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host with apt-get but no QEMU and no e2fsprogs; the user is not root."""
    fake = FakeHost(tmp_path / "bin")
    fake.add("apt-get", APT_GET)
    monkeypatch.setenv("PATH", str(fake.root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(host_tools, "_ADMIN", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return fake


def test_nothing_is_done_when_all_is_there(host: FakeHost) -> None:
    for program in host_tools.PROGRAMS:
        host.add(program)
    ensure_host_tools()
    assert host.calls == []


def test_root_installs_what_is_missing(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ensure_host_tools()
    wait = "-o DPkg::Lock::Timeout=120"
    install = (
        f"-q -y {wait} install --no-install-recommends e2fsprogs qemu-system-x86 noninteractive"
    )
    assert host.calls == [install, f"-q -y {wait} update noninteractive", install]
    assert missing_packages() == []


def test_processes_that_need_the_same_install_it_once(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the workers of a first test run do: the others wait, and find it there."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (host.root / "lists").touch()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ensure_host_tools) for _ in range(4)]:
            done.result()
    assert len(host.calls) == 1


def test_passwordless_sudo_installs_what_is_missing(host: FakeHost) -> None:
    host.add("sudo", SUDO)
    (host.root / "allowed").touch()
    (host.root / "lists").touch()
    ensure_host_tools()
    assert len(host.calls) == 1  # the lists were there: no update


@pytest.mark.parametrize("sudo", [True, False])
def test_others_are_told_the_exact_command_in_one_line(host: FakeHost, sudo: bool) -> None:
    if sudo:
        host.add("sudo", SUDO)  # which asks for a password
    with pytest.raises(HostToolError) as caught:
        ensure_host_tools()
    assert caught.value.exit_status == MACHINERY
    assert str(caught.value).endswith(f"run: sudo apt-get update && sudo {BOTH}")
    assert "\n" not in str(caught.value)
    assert host.calls == []


def test_only_missing_packages_are_named(host: FakeHost) -> None:
    for program in ("mke2fs", "e2fsck", "debugfs"):
        host.add(program)
    with pytest.raises(HostToolError) as caught:
        ensure_host_tools()
    assert str(caught.value).endswith("--no-install-recommends qemu-system-x86")


def test_a_failed_installation_gives_apts_reason(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (host.root / "broken").touch()
    with pytest.raises(HostToolError, match="Unable to locate package; run: apt-get update"):
        ensure_host_tools()


def test_an_apt_that_hangs_is_given_up(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host_tools, "_INSTALL_SECONDS", 0.2)
    host.add("apt-get", "#!/bin/sh\nwhile :; do :; done\n")
    with pytest.raises(HostToolError, match="apt-get did not finish"):
        ensure_host_tools()


def test_a_host_without_apt_is_told_what_to_install(host: FakeHost) -> None:
    (host.root / "apt-get").unlink()
    with pytest.raises(HostToolError, match="no apt-get; install QEMU"):
        ensure_host_tools()


def test_programs_of_the_administrator_are_found(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbin").mkdir()
    program = tmp_path / "sbin/mke2fs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(HostToolError, match="mke2fs is missing"):
        find_program("mke2fs")
    monkeypatch.setattr(host_tools, "_ADMIN", (str(tmp_path / "sbin"),))
    assert find_program("mke2fs") == str(program)


def test_missing_files_of_a_real_host_are_known_to_apt() -> None:
    """The names are Debian's and Ubuntu's: whoever has the program has it from there."""
    for program, package in host_tools.PROGRAMS.items():
        path = host_tools._which(program)
        if path is None:
            continue
        owner = subprocess.run(
            ["dpkg", "-S", str(Path(path).resolve())], capture_output=True, text=True, check=False
        ).stdout
        merged = subprocess.run(
            ["dpkg", "-S", f"*/{program}"], capture_output=True, text=True, check=False
        ).stdout
        assert f"{package}:" in owner + merged
