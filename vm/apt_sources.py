"""Which archives to use: found in the apt sources that the host is set up with.

No mirror's address is written here. A Debian archive is taken from the host's sources or
from `EXT4DIFF_DEBIAN_MIRROR`; on Ubuntu without either, Ubuntu's own archive serves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vm.apt import MIRROR_VARIABLE, Archive
from vm.errors import DownloadError

__all__ = ["Distribution", "Source", "chosen_mirror", "find_distribution", "parse_sources"]

DEBIAN_USERLAND = "trixie"
DEBIAN_KERNELS = ("trixie-backports", "sid", "trixie")
"""Suites in which the default kernel is looked for, in this order."""

_DEBIAN_SUITE = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
    r"(-updates|-backports|-proposed-updates)?/?"
)
_KEYRINGS = {
    "debian": ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp"),
    "ubuntu": ("ubuntu-archive-keyring.gpg",),
}


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: a URI, its suites and components, and Signed-By."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Distribution:
    """Where packages come from: `debian` or `ubuntu`.

    `kernels` are the archives to look in for a kernel, in this order; `userland` has the
    guest's programs.
    """

    name: str
    kernels: tuple[Archive, ...]
    userland: Archive


def _parse_line(line: str) -> Source | None:
    """A one-line entry: `deb [option=value ...] URI SUITE COMPONENT...`."""
    match = re.fullmatch(r"deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)", line)
    if match is None:
        return None
    options, uri, suite, components = match.groups()
    signed = re.search(r"signed-by=(\S+)", options or "", re.I)
    return Source(uri, (suite,), tuple(components.split()), signed[1] if signed else "")


def _parse_deb822(text: str) -> Iterator[Source]:
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M)
        fields = {name.lower(): value for name, value in pairs}
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").strip().lower() in ("no", "false", "0", "off"):
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", "").strip(),
            )


def parse_sources(etc: Path) -> list[Source]:
    """All binary sources below `etc` (`/etc/apt`), sources.list first; unreadable files skipped."""
    files = [etc / "sources.list"]
    parts = etc / "sources.list.d"
    if parts.is_dir():
        files += sorted(parts.iterdir())
    found: list[Source] = []
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if file.suffix == ".list":
            lines = (line.split("#")[0].strip() for line in text.splitlines())
            found += [source for line in lines if (source := _parse_line(line))]
        elif file.suffix == ".sources":
            found += _parse_deb822(text)
    return found


def _mirrors(sources: list[Source], name: str, suite: re.Pattern[str]) -> list[str]:
    """URIs that look like `name`'s main archive; the keyring decides later if they are."""
    uris: dict[str, None] = {}
    for source in sources:
        foreign = source.signed_by and f"{name}-archive" not in source.signed_by
        if foreign or "main" not in source.components or source.uri.startswith("cdrom:"):
            continue
        if any(suite.fullmatch(word) for word in source.suites):
            uris[source.uri] = None
    return list(uris)


def _keyring(name: str, keyrings: Path) -> Path:
    for file in _KEYRINGS[name]:
        if (keyrings / file).is_file():
            return keyrings / file
    raise DownloadError(
        f"the keys of {name.capitalize()}'s archive are missing; "
        f"run: apt-get install {name}-{'archive-keyring' if name == 'debian' else 'keyring'}"
    )


def _debian(mirror: str, keyrings: Path) -> Distribution:
    keyring = _keyring("debian", keyrings)
    archives = {
        suite: Archive(mirror, (suite,), ("main",), keyring)
        for suite in (*DEBIAN_KERNELS, DEBIAN_USERLAND)
    }
    kernels = tuple(archives[suite] for suite in DEBIAN_KERNELS)
    return Distribution("debian", kernels, archives[DEBIAN_USERLAND])


def _os_release(etc: Path) -> dict[str, str]:
    try:
        text = (etc.parent / "os-release").read_text()
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.M)}


def chosen_mirror(mirror: str | None = None) -> str:
    """The Debian mirror that the user set (`mirror` or the environment), or ''."""
    return mirror or os.environ.get(MIRROR_VARIABLE, "")


def find_distribution(
    mirror: str | None = None,
    etc: Path = Path("/etc/apt"),
    keyrings: Path = Path("/usr/share/keyrings"),
) -> Distribution:
    """The archives to use; `mirror` or the environment's Debian mirror goes first.

    Raises `DownloadError` if the host's apt knows neither Debian nor Ubuntu.
    """
    chosen = chosen_mirror(mirror)
    if chosen:
        return _debian(chosen, keyrings)
    sources = parse_sources(etc)
    for uri in _mirrors(sources, "debian", _DEBIAN_SUITE):
        return _debian(uri, keyrings)
    codename = _os_release(etc).get("UBUNTU_CODENAME", "")
    suites = re.compile(re.escape(codename) + "(-updates)?")
    for uri in _mirrors(sources, "ubuntu", suites) if codename else ():
        archive = Archive(
            uri, (codename, f"{codename}-updates"), ("main", "universe"),
            _keyring("ubuntu", keyrings),
        )  # fmt: skip
        return Distribution("ubuntu", (archive,), archive)
    raise DownloadError(
        "apt on this host knows no Debian or Ubuntu archive to take a kernel from; "
        f"set {MIRROR_VARIABLE} to the address of a Debian mirror, or use --kernel"
    )
