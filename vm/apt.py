"""Package archives, read through apt with a configuration and state of its own.

Nothing here touches the host's package database: every archive has its own list and
cache directories, an empty status file and its own sources, so an ordinary user can do
it. The host's apt.conf stays in force, because proxies are set there. Signatures are
verified by apt with the distribution's keyring.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.errors import DownloadError, HostToolError, MachineryError, SuiteMissingError

__all__ = ["MIRROR_VARIABLE", "Archive", "Package", "parse_stanzas", "progress"]

MIRROR_VARIABLE = "EXT4DIFF_DEBIAN_MIRROR"
"""Environment variable with the URI of a Debian mirror, as in sources.list."""

_UPDATE_SECONDS = 600
_DOWNLOAD_SECONDS = 1800

# `#clear` keeps the host's hooks from running: as an ordinary user they would fail.
_CONF = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{root}/state";
Dir::State::lists "{root}/state/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


def progress(text: str) -> None:
    """Tell the user on stderr what takes time."""
    print(f"ext4diff: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Package:
    """One version of a package as the archive lists it; `size` is bytes of the .deb."""

    name: str
    version: str
    depends: tuple[str, ...]
    size: int

    @property
    def spec(self) -> str:
        """`name=version`, as apt-get takes it."""
        return f"{self.name}={self.version}"


def _depends(text: str) -> tuple[str, ...]:
    """The first alternative of each dependency, without version and architecture."""
    names = (part.split("|")[0].split("(")[0].strip() for part in text.split(","))
    return tuple(name.split(":")[0] for name in names if name)


def parse_stanzas(text: str) -> list[Package]:
    """The packages in the output of `apt-cache show`, in its order (newest first)."""
    packages = []
    for stanza in re.split(r"\n\s*\n", text.strip()):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", stanza, re.M))
        if "Package" in fields and "Version" in fields:
            depends = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"
            size = int(fields.get("Size", "0"))
            packages.append(Package(fields["Package"], fields["Version"], _depends(depends), size))
    return packages


@dataclass(frozen=True)
class Archive:
    """Suites of one mirror.

    `mirror` is the URI as in sources.list; `keyring` the file with the keys that must
    have signed it.
    """

    mirror: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: Path

    @property
    def name(self) -> str:
        """How reports call it, e.g. `trixie-backports`."""
        return ",".join(self.suites)

    @property
    def _root(self) -> Path:
        key = cache.key_of(self.mirror, self.name, *self.components, str(self.keyring))
        return cache.cache_root() / "apt" / key

    def update(self) -> None:
        """Fetch the package lists; `DownloadError` if that fails or a signature is wrong."""
        root = self._root
        progress(f"fetching the package list of {self.name}")
        with cache.locked(root.parent / f".{root.name}.lock"), cache.disk_errors(root):
            self._configure(root)
            # Without error-mode=any, apt-get update succeeds with warnings when offline.
            done = self._run("apt-get", ["-q", "update", "-eany"], root, _UPDATE_SECONDS)
        if done.returncode != 0:
            raise self._error("the package list", done)

    def show(self, names: Iterable[str]) -> dict[str, Package]:
        """The newest version of each of `names` that the archive has."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        done = self._run("apt-cache", ["show", "--", *wanted], self._root, 120)
        found: dict[str, Package] = {}
        for package in parse_stanzas(done.stdout):
            if package.name in wanted:  # for a virtual name, apt shows who provides it
                found.setdefault(package.name, package)
        return found

    def search(self, pattern: str) -> list[str]:
        """Names of the packages whose name matches the regular expression `pattern`."""
        done = self._run("apt-cache", ["pkgnames"], self._root, 120)
        return sorted(name for name in done.stdout.split() if re.fullmatch(pattern, name))

    def download(self, packages: Sequence[Package], into: Path) -> list[Path]:
        """Download the .deb files of `packages` into the empty directory `into`."""
        megabytes = sum(package.size for package in packages) / 1e6
        what = "1 package" if len(packages) == 1 else f"{len(packages)} packages"
        progress(f"fetching {what} of {self.name} ({megabytes:.0f} MB)")
        specs = [package.spec for package in packages]
        done = self._run("apt-get", ["-q", "download", *specs], self._root, _DOWNLOAD_SECONDS, into)
        files = sorted(into.glob("*.deb"))
        if done.returncode != 0 or len(files) != len(packages):
            raise self._error("packages", done)
        return files

    def tidy(self) -> None:
        """Remove what apt only keeps to be faster the next time (44 MB)."""
        for file in (self._root / "cache").glob("*.bin"):
            file.unlink(missing_ok=True)

    def _error(self, what: str, done: subprocess.CompletedProcess[str]) -> MachineryError:
        """The error that says why apt could not fetch `what`."""
        if "No space left on device" in done.stderr + done.stdout:
            return cache.full_error(cache.cache_root())
        text = f"cannot fetch {what} of {self.name}: {_reason(done)}"
        if "does not have a Release file" in text:
            return SuiteMissingError(f"{text}; choose another mirror with {MIRROR_VARIABLE}")
        return DownloadError(
            f"{text}; check the network and apt's proxy, or choose another mirror with "
            f"{MIRROR_VARIABLE}"
        )

    def _configure(self, root: Path) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        # targets=Packages: not what appstream or apt-file configured on the host.
        options = f"arch=amd64 targets=Packages signed-by={self.keyring}"
        lines = (
            f"deb [{options}] {self.mirror} {suite} {' '.join(self.components)}\n"
            for suite in self.suites
        )
        (root / "sources.list").write_text("".join(lines))
        (root / "apt.conf").write_text(_CONF.format(root=root))

    def _run(
        self, program: str, args: list[str], root: Path, seconds: float, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        if shutil.which(program) is None:
            raise HostToolError(
                f"{program} is missing: kernels and the guest's programs come from Debian or "
                "Ubuntu packages; run on such a host"
            )
        command = [program, "-c", str(root / "apt.conf"), *args]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        try:
            return subprocess.run(
                command, cwd=cwd, env=env, text=True, errors="replace", check=False,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DownloadError(
                f"{program} did not finish within {seconds:.0f} s; check the network"
            ) from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The first line in which apt says why it failed."""
    lines = (done.stderr + done.stdout).splitlines()
    for mark in ("E:", "W:", "Err:"):
        for line in lines:
            if line.startswith(mark):
                return " ".join(line.removeprefix(mark).split())
    return f"apt exited with status {done.returncode}"
