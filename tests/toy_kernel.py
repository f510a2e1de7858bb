"""A kernel tree of a few files, and tools that build it in an instant.

The toy's `make` is a script: it copies a source file to its object when it is newer, says
so as kbuild does, and fails at a file that contains ERROR. git is the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm.kernels import build, tools

FILES = {
    "Makefile": "VERSION = 7\n",
    "Kconfig": "".join(f"config {name}\n\n" for name in ("EXT4_FS", "KPROBES")),
    "arch/x86/Makefile": "x86\n",
    "fs/ext4/Kconfig": "config EXT4_FS\n",
    "fs/ext4/inode.c": "".join(f"line {number}\n" for number in range(1, 41)),
    "fs/ext4/super.c": "".join(f"super {number}\n" for number in range(1, 21)),
    "mm/filemap.c": "filemap\n",
    ".gitignore": ".*\n!.gitignore\n*.o\n",
}

MAKE = """\
import os, pathlib, shutil, sys, time
words = sys.argv[1:]
tree = pathlib.Path(words[words.index("-C") + 1])
given = dict(word.split("=", 1) for word in words if "=" in word)
out = pathlib.Path(given["O"])
targets = [w for w in words if "=" not in w and not w.startswith("-") and w != str(tree)]
drop = (tree / "DROPPED").read_text().split() if (tree / "DROPPED").exists() else []
if targets[0].endswith("config"):
    given_config = given.get("KCONFIG_ALLCONFIG", str(out / ".config"))
    lines = {}
    for line in pathlib.Path(given_config).read_text().splitlines():
        if line.startswith("CONFIG_"):
            name, value = line.split("=", 1)
            lines[name] = line if value != "n" and name not in drop else f"# {name} is not set"
    (out / ".config").write_text("".join(f"{line}\\n" for line in lines.values()))
    sys.exit(0)
text = ""
for source in sorted(tree.rglob("*.c")):
    name = source.relative_to(tree)
    built = (out / name).with_suffix(".o")
    if built.exists() and built.stat().st_mtime_ns >= source.stat().st_mtime_ns:
        text += built.read_text()
        continue
    print(f"  CC      {name.with_suffix('.o')}", flush=True)
    if "SLEEP" in source.read_text():
        (out / "sleeping").write_text(str(os.getpid()))
        time.sleep(600)
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if "ERROR" in line:
            print(f"{source}: In function 'toy':")
            print(f"{source}:{number}:5: error: 'toy' undeclared (first use in this function)")
            print("make[2]: *** [scripts/Makefile.build:1: x.o] Error 1")
            sys.exit(2)
        if "FULL" in line:
            print("ld: final link failed: No space left on device")
            sys.exit(2)
    built.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, built)
    text += source.read_text()
release = f"7.3.4{given['LOCALVERSION']}"
for name in ("arch/x86/boot", "include/config"):
    (out / name).mkdir(parents=True, exist_ok=True)
(out / "include/config/kernel.release").write_text(release + "\\n")
sys.path.insert(0, TESTS)
from binaries import make_bzimage, make_vmlinux
(out / "arch/x86/boot/bzImage").write_bytes(make_bzimage(release, text.encode()))
(out / "vmlinux").write_bytes(make_vmlinux(release))
(out / "System.map").write_text("0 T start\\n")
"""


class Toy:
    """A git repository with a toy kernel, and commands on it."""

    def __init__(self, root: Path) -> None:
        self.path = root
        for name, text in FILES.items():
            self.write(name, text)
        self.git("init", "-q", "-b", "main")
        self.commit("first")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", "-C", str(self.path), *identity, *words],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        (self.path / name).write_text(text.replace(old, new, 1))

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def mbox(self, file: Path, *since: str) -> Path:
        """The commits since `since` as a series; the tree goes back to there."""
        text = self.git("format-patch", "--stdout", *since)
        self.git("reset", "-q", "--hard", since[-1])
        file.write_text(text + "\n")
        return file

    def state(self) -> dict[str, object]:
        """All that a build must leave as it is: files with their times, refs, the index.

        Of objects only the names: git marks those that it needed as still in use.
        """
        files = {
            str(file.relative_to(self.path)): "objects" in file.parts or file.stat().st_mtime_ns
            for file in sorted(self.path.rglob("*"))
            if file.is_file()
        }
        return {**files, "refs": self.git("for-each-ref"), "head": self.git("rev-parse", "HEAD")}


def fake_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the toy's make and compilers first on PATH; no other tool, nor GB of disk, is needed."""
    folder.mkdir()
    tests = str(Path(__file__).parent)
    make = MAKE.replace("TESTS", repr(tests))
    script(folder / "make", f"#!{sys.executable}\n{make}")
    script(folder / "gcc", "#!/bin/sh\necho 'gcc (Toy) 12.2.0'\n")
    script(folder / "ld", "#!/bin/sh\necho 'GNU ld (Toy) 2.40'\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(tools, "PROGRAMS", {"make": "make", "ld": "binutils"})
    monkeypatch.setattr(tools, "HEADERS", {})
    monkeypatch.setattr(build, "NEEDED", dict.fromkeys(build.NEEDED, 0))
    return folder


def script(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file
