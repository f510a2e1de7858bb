"""What the host must have to build a kernel, and which compiler it has."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from vm.errors import HostToolError
from vm.host_tools import missing_error

__all__ = ["Compiler", "find_compiler", "missing_packages", "require_tools"]


PROGRAMS = {
    "make": "make",
    "ld": "binutils",
    "objcopy": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "perl": "perl",
    "python3": "python3",
    "gzip": "gzip",
    "xz": "xz-utils",
    "tar": "tar",
    "awk": "gawk",
    "cmp": "diffutils",
    "find": "findutils",
}
"""The package (Debian's and Ubuntu's name) with each program that kbuild runs."""

_DEFAULT = ["gcc"]

HEADERS = {
    "stdio.h": "libc6-dev",
    "gelf.h": "libelf-dev",
    "openssl/evp.h": "libssl-dev",
}
"""The package with each header that kbuild's own programs include."""


@dataclass(frozen=True)
class Compiler:
    """`command` for make's CC, and `version`, the first line of its --version.

    `linker` is the linker's first line.
    """

    command: str
    version: str
    linker: str


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def _has_header(compiler: list[str], header: str) -> bool:
    """Whether programs of the build can include `header`, with make's HOSTCFLAGS."""
    flags = shlex.split(os.environ.get("HOSTCFLAGS", ""))
    done = subprocess.run(
        [*compiler, *flags, "-E", "-x", "c", "-"], input=f"#include <{header}>\n", text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def find_compiler() -> Compiler:
    """The compiler (the environment's CC, or gcc), through ccache where that is installed.

    Raises `HostToolError` if it does not run.
    """
    command = _command()
    version = _first_line(command)
    if not version and command == _DEFAULT:
        require_tools()  # names gcc, and what else is missing
    if not version:
        raise HostToolError(f"the compiler {shlex.join(command)} does not run; look at CC")
    ccache = [] if "ccache" in command[0] or shutil.which("ccache") is None else ["ccache"]
    return Compiler(shlex.join([*ccache, *command]), version, _first_line(["ld"]))


def require_tools() -> None:
    """Raise `HostToolError` with one apt command for everything that a build lacks."""
    missing = missing_packages()
    if missing:
        raise missing_error(missing, f"building a kernel needs {', '.join(missing)}")


def _command() -> list[str]:
    return shlex.split(os.environ.get("CC", "")) or _DEFAULT


def missing_packages() -> list[str]:
    """The packages to install so that a kernel can be built."""
    missing = {package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    command = _command()
    if shutil.which(command[0]) is None:
        return sorted({*missing, *_DEFAULT, *HEADERS.values()})
    return sorted(missing | {p for name, p in HEADERS.items() if not _has_header(command, name)})
