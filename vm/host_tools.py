"""Programs that the host must have: found, or installed where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from vm import cache
from vm.apt import progress
from vm.errors import HostToolError

__all__ = ["PROGRAMS", "ensure_host_tools", "find_program", "missing_error", "missing_packages"]

PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
"""The package (Debian's and Ubuntu's name) that has each program."""

# Ordinary users often lack these on PATH.
_ADMIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_INSTALL_SECONDS = 1800
_WAIT = ("-o", "DPkg::Lock::Timeout=120")
"""apt-get waits so many seconds for another one to end."""


def _which(program: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ADMIN))
    return shutil.which(program, path=path)


def find_program(program: str) -> str:
    """The path of `program`; `HostToolError` with the apt command if it is missing."""
    found = _which(program)
    if found is None:
        raise missing_error([PROGRAMS.get(program, program)], f"{program} is missing")
    return found


def missing_packages(programs: Iterable[str] = PROGRAMS) -> list[str]:
    """Packages to install so that all `programs` are there."""
    return sorted({PROGRAMS[program] for program in programs if _which(program) is None})


def missing_error(packages: list[str], reason: str) -> HostToolError:
    """The error that says `reason` and gives the apt command that installs `packages`."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    install = f"{sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"
    return HostToolError(f"{reason}; run: {sudo}apt-get update && {install}")


def _privilege() -> list[str] | None:
    """What to put before a command to run it as root; None if that is not allowed."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    allowed = subprocess.run(
        ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    # -n: sudo's timestamp may expire between two commands; never ask for a password.
    return ["sudo", "-n"] if allowed.returncode == 0 else None


def _apt_get(privilege: list[str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [
        *privilege, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
        "apt-get", "-q", "-y", *_WAIT, *args,
    ]  # fmt: skip
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False, timeout=_INSTALL_SECONDS,
    )  # fmt: skip


def ensure_host_tools(programs: Iterable[str] = PROGRAMS) -> None:
    """Install what is missing of `programs`, as root or by passwordless sudo.

    Raises `HostToolError` with the apt command to run where that is not allowed or fails.
    """
    wanted = list(programs)
    packages = missing_packages(wanted)
    if not packages:
        return
    names = " and ".join(packages)
    if shutil.which("apt-get") is None:
        raise HostToolError(
            f"{names} missing, and this host has no apt-get; install QEMU (x86_64) and e2fsprogs"
        )
    privilege = _privilege()
    if privilege is None:
        raise missing_error(packages, f"{names} missing, and installing needs root")
    with cache.locked(cache.cache_root() / "host-tools.lock"):
        packages = missing_packages(wanted)  # another process of ours may have installed some
        if packages:
            _install(privilege, wanted, packages)


def _install(privilege: list[str], wanted: list[str], packages: list[str]) -> None:
    names = " and ".join(packages)
    progress(f"installing {names}")
    install = ("install", "--no-install-recommends", *packages)
    try:
        done = _apt_get(privilege, *install)
        if done.returncode != 0:  # no package lists yet, or old ones
            _apt_get(privilege, "update")
            done = _apt_get(privilege, *install)
    except subprocess.TimeoutExpired:
        raise missing_error(packages, "apt-get did not finish") from None
    if done.returncode != 0 or missing_packages(wanted):
        reasons = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = reasons[0].removeprefix("E:").strip() if reasons else "no reason given"
        raise missing_error(packages, f"cannot install {names}: {reason}")
