"""The guest's programs: which files of the unpacked packages go into the initramfs."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vm import cache, cpio, elf
from vm.errors import HostToolError, MachineryError
from vm.packages import Unpacked

__all__ = ["Userland", "agent_entries"]

PROGRAMS = ("usr/bin/busybox", "usr/sbin/xfs_io", "usr/sbin/debugfs")
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"

# Of Python's standard library: tests, tools for a person at a terminal, and what needs
# libraries that the guest does not have.
_LEAVE_OUT = re.compile(
    r"test|idlelib|lib2to3|tkinter|turtledemo|turtle|ensurepip|venv|pydoc_data|pydoc|distutils|"
    r"config-.*|sqlite3|dbm|curses|_pyrepl|wsgiref|xmlrpc|xml|__phello__|antigravity|this|"
    r"doctest|pdb|mailbox|imaplib|smtplib|poplib|ftplib|webbrowser|_pydecimal|_pyio|"
    r"_sysconfigdata.*|sitecustomize|zoneinfo|tomllib|pickletools|profile|cProfile"
)
_LEAVE_OUT_SO = re.compile(
    r"(_ssl|_hashlib|_sqlite3|_dbm|readline|_curses.*|_codecs_.*|_test.*|_ctypes_test|xx.*|_xx.*|"
    r"_zoneinfo|_lsprof|_decimal)\..*"
)
_LANDMARK = "os.pyc"
"""By this file Python finds out where its library is."""

# pyroute2's own __init__ imports all of it, with sqlite3 and OpenSSL behind: 2 s and 10 MB.
_PYROUTE2_PARTS = ("config", "netlink", "netns", "process", "requests")
_NETLINK_PARTS = ("event", "generic")
_PYROUTE2_INIT = """\
from pyroute2.netlink.event.dquot import DQuotSocket
__all__ = ["DQuotSocket"]
"""


def _stdlib_files(stdlib: Path) -> Iterator[Path]:
    """Files of the standard library that go along, relative to it."""
    for folder, folders, names in os.walk(stdlib):
        here = Path(folder).relative_to(stdlib)
        folders[:] = sorted(
            name
            for name in folders
            if name not in ("__pycache__", "tests", "test")
            and not (here == Path() and _LEAVE_OUT.fullmatch(name))
        )
        for name in sorted(names):
            if _is_wanted(here / name):
                yield here / name


def _is_wanted(file: Path) -> bool:
    """Whether `file`, relative to the standard library, goes along."""
    if file.parent == Path("lib-dynload"):
        return not _LEAVE_OUT_SO.fullmatch(file.name)
    top_level = file.parent == Path()
    return file.suffix == ".py" and not (top_level and _LEAVE_OUT.fullmatch(file.stem))


@dataclass(frozen=True)
class Userland:
    """The guest's programs, unpacked at `packages.path`."""

    packages: Unpacked

    @property
    def root(self) -> Path:
        """The directory that stands for `/`."""
        return self.packages.path

    @property
    def python(self) -> Path:
        """The guest's Python interpreter, by its version (`.../python3.13`)."""
        for file in sorted((self.root / "usr/bin").glob("python3.*")):
            if re.fullmatch(r"python3\.\d+", file.name):
                return file
        raise MachineryError(f"the packages in {self.root} hold no Python")

    def command(self, program: Path) -> list[str]:
        """The command that runs the guest's `program` on the host, with its own libraries."""
        libraries = self.root / "usr/lib/x86_64-linux-gnu"
        return [str(self.root / _LOADER), "--library-path", str(libraries), str(program)]

    @property
    def zstd(self) -> list[str]:
        """The command that runs the guest's zstd on the host."""
        return self.command(self.root / "usr/bin/zstd")

    def compile(self, folder: Path, *options: str) -> None:
        """Compile Python sources below `folder`, whose files the guest sees below `/`."""
        done = subprocess.run(
            [
                *self.command(self.python), "-I", "-S", "-m", "compileall", "-q", "-f",
                "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/",
                *options, str(folder),
            ],
            env={"PYTHONHOME": str(self.root / "usr"), "LC_ALL": "C.UTF-8"},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise HostToolError(
                f"the guest's Python could not compile: {lines[-1] if lines else 'no reason'}"
            )

    def _fill_library(self, into: Path) -> None:
        """Put the compiled standard library and pyroute2 into `into`, without sources."""
        version = self.python.name
        stdlib = self.root / "usr/lib" / version
        target = into / "usr/lib" / version
        for file in _stdlib_files(stdlib):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stdlib / file, target / file)
        _copy_pyroute2(target / "pyroute2")
        self.compile(into, "-b")  # -b: file.pyc in place of file.py
        for source in target.rglob("*.py"):
            source.unlink()
        compiled = sorted(target.rglob("*.pyc"))
        archive = into / "usr/lib" / f"{version.replace('.', '')}.zip"
        archive.write_bytes(_zipped((str(path.relative_to(target)), path) for path in compiled))
        for path in compiled:
            if path != target / _LANDMARK:
                path.unlink()

    def library(self) -> Path:
        """A cached tree with the compiled standard library and pyroute2."""
        key = cache.key_of(
            *self.packages.packages, metadata.version("pyroute2"), Path(__file__).read_bytes()
        )
        return cache.entry("libraries", key, self._fill_library)

    def entries(self) -> dict[str, cpio.Entry]:
        """All files of the guest's user space, by path without leading slash."""
        found: dict[str, cpio.Entry] = {}
        library = self.library()
        for path in sorted(library.rglob("*")):
            if path.is_file():
                found[str(path.relative_to(library))] = cpio.file(path.read_bytes())
        programs = [*PROGRAMS, f"usr/bin/{self.python.name}"]
        for program in programs:
            found[program] = cpio.file((self.root / program).read_bytes(), executable=True)
        found |= self._libraries(found)
        found["usr/bin/python3"] = cpio.link(self.python.name)
        for applet in self._applets():
            found.setdefault(f"usr/bin/{applet}", cpio.link("busybox"))
        for folder in ("bin", "sbin", "lib", "lib64"):
            found[folder] = cpio.link(f"usr/{folder}")
        return found

    def _applets(self) -> list[str]:
        done = subprocess.run(
            [str(self.root / "usr/bin/busybox"), "--list"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.split()

    def _libraries(self, found: dict[str, cpio.Entry]) -> dict[str, cpio.Entry]:
        """The shared libraries that the ELF files in `found` need, and the loader."""
        folder = "usr/lib/x86_64-linux-gnu"
        loader = (self.root / _LOADER).read_bytes()
        libraries = {_LOADER: cpio.file(loader, executable=True)}
        queue = [entry.data for entry in found.values()]
        while queue:
            for name in elf.needed(queue.pop()):
                path = f"{folder}/{name}"
                if path in libraries or name.startswith("ld-linux"):
                    continue
                if not (self.root / path).is_file():
                    raise MachineryError(f"the guest's packages lack the library {name}")
                data = (self.root / path).read_bytes()
                libraries[path] = cpio.file(data, executable=True)
                queue.append(data)
        return libraries


def _zipped(files: Iterable[tuple[str, Path]]) -> bytes:
    """A zip archive that Python can import from, of files by their names in it.

    All of a directory's modules as one file, and packed: drop_caches passes through all files
    and pages of the guest's root, which is most of what it takes.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files:
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _copy_pyroute2(target: Path) -> None:
    """Copy the part of the installed pyroute2 that the quota watch uses."""
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.origin is None:
        raise MachineryError("the Python package pyroute2 is missing; install ext4diff again")
    source = Path(spec.origin).parent
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).parts
        if len(parts) > 1 and parts[0] not in _PYROUTE2_PARTS:
            continue
        if len(parts) > 2 and parts[0] == "netlink" and parts[1] not in _NETLINK_PARTS:
            continue
        (target / Path(*parts)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / Path(*parts))
    (target / "__init__.py").write_text(_PYROUTE2_INIT)


def agent_entries(userland: Userland, agent: Path, scratch: Path) -> dict[str, cpio.Entry]:
    """`agent.zip`, with the agent's sources and compiled code, and `init`.

    `agent` holds the sources and `init`; `scratch` is an empty directory to work in.
    """
    target = scratch / "agent"
    shutil.copytree(agent, target, ignore=shutil.ignore_patterns("__pycache__", "init"))
    userland.compile(scratch, "-b")
    init = agent / "init"
    if not init.is_file():
        raise MachineryError(f"{agent} has no init")
    files = sorted(path for path in target.rglob("*") if path.is_file())
    archive = _zipped((str(path.relative_to(scratch)), path) for path in files)
    return {
        "agent.zip": cpio.file(archive),
        "init": cpio.file(init.read_bytes(), executable=True),
    }
