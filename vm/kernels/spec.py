"""The language of `--kernel`: which kernel, in one line.

    PATH                                 a bzImage or vmlinux, or a kernel tree that is built
    debian:SUITE | debian:VERSION        a stock kernel from its package
    tree:DIR[@REV]                       built from a source tree, or from a commit of it
    debian-source:VERSION                built from Debian's package linux-source-VERSION
    series:MBOX|MESSAGE-ID on TREE       built with a patch series on top of one of these two
    bug:NAME on TREE                     built with a seeded bug in one of these two
    built:KEY                            built before, as `ext4diff kernel list` shows it

What is built may end in ` with ` and a list of `debug`, `symbols`, `config=FILE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from vm.errors import KernelError

__all__ = [
    "HELP",
    "BugSpec",
    "BuiltBefore",
    "DebianPackage",
    "DebianSource",
    "Flavour",
    "PathSpec",
    "SeriesSpec",
    "SourceSpec",
    "Spec",
    "TreeSpec",
    "needs_build",
    "parse_spec",
]

HELP = (
    "a bzImage, vmlinux or built tree; debian:SUITE or debian:VERSION; tree:DIR[@REV]; "
    "debian-source:VERSION; 'series:MBOX|MESSAGE-ID on tree:DIR|debian-source:VERSION'; "
    "'bug:NAME on' one of these two; built:KEY"
)
"""For --help, and for the ends of messages."""

_MESSAGE_ID = re.compile(r"(?!-)<?[^\s<>/@]+@[^\s<>/@]+>?|https?://\S+")
_VERSION = re.compile(r"\d[\w.+~:-]*")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Flavour:
    """How a kernel is built: checking itself (`debug`), with DWARF, from a user's .config."""

    debug: bool = False
    symbols: bool = False
    config: Path | None = None

    @property
    def name(self) -> str:
        """How reports call it: `tiny`, `debug`, `config:FILE+debug+symbols`."""
        base = f"config:{self.config.name}" if self.config else "tiny"
        if self.debug:
            base = f"{base}+debug" if self.config else "debug"
        return f"{base}+symbols" if self.symbols else base

    @property
    def suffix(self) -> str:
        """What to put behind a specification to get it."""
        words = ["debug"] * self.debug + ["symbols"] * self.symbols
        words += [f"config={self.config}"] if self.config else []
        return f" with {','.join(words)}" if words else ""


@dataclass(frozen=True)
class PathSpec:
    """A file with a kernel, or a directory in which one was built."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class DebianPackage:
    """The newest stock kernel of a suite (`sid`), or of a version (`6.12`, `7.3.4+deb13`)."""

    wanted: str

    @property
    def is_version(self) -> bool:
        """Whether a version was asked for and not a suite."""
        return self.wanted[0].isdigit()

    def __str__(self) -> str:
        return f"debian:{self.wanted}"


@dataclass(frozen=True)
class BuiltBefore:
    """A kernel in the cache, by its key or the first characters of it."""

    key: str

    def __str__(self) -> str:
        return f"built:{self.key}"


@dataclass(frozen=True)
class TreeSpec:
    """A source tree: as it is now (`revision` ""), or a commit of its repository."""

    directory: Path
    revision: str = ""
    flavour: Flavour = field(default=Flavour())

    @property
    def where(self) -> str:
        """The specification without the flavour."""
        return f"tree:{self.directory}" + (f"@{self.revision}" if self.revision else "")

    def __str__(self) -> str:
        return self.where + self.flavour.suffix


@dataclass(frozen=True)
class DebianSource:
    """Debian's package linux-source-`version`; a complete package version is possible too."""

    version: str
    flavour: Flavour = field(default=Flavour())

    @property
    def where(self) -> str:
        """The specification without the flavour."""
        return f"debian-source:{self.version}"

    def __str__(self) -> str:
        return self.where + self.flavour.suffix


@dataclass(frozen=True)
class SeriesSpec:
    """A patch series, in a file (`mbox`) or known by its `message_id`, on top of `base`."""

    base: TreeSpec | DebianSource
    mbox: Path | None = None
    message_id: str = ""

    @property
    def flavour(self) -> Flavour:
        """Its base's."""
        return self.base.flavour

    @property
    def where(self) -> str:
        """The specification without the flavour."""
        return f"series:{self.mbox or self.message_id} on {self.base.where}"

    def __str__(self) -> str:
        return self.where + self.flavour.suffix


@dataclass(frozen=True)
class BugSpec:
    """The seeded bug called `name` (`vm.kernels.seeded`) in `base`."""

    base: TreeSpec | DebianSource
    name: str

    @property
    def flavour(self) -> Flavour:
        """Its base's."""
        return self.base.flavour

    @property
    def where(self) -> str:
        """The specification without the flavour."""
        return f"bug:{self.name} on {self.base.where}"

    def __str__(self) -> str:
        return self.where + self.flavour.suffix


SourceSpec = TreeSpec | DebianSource | SeriesSpec | BugSpec
"""What has to be built."""
Spec = PathSpec | DebianPackage | BuiltBefore | SourceSpec


def _fail(text: str, reason: str) -> KernelError:
    return KernelError(f"{text!r} names no kernel: {reason}")


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _tree(text: str, rest: str, flavour: Flavour) -> TreeSpec:
    """`DIR[@REV]`; a directory whose own name has an `@` is taken whole."""
    directory, mark, revision = rest.rpartition("@")
    if not mark or _path(rest).is_dir():
        directory, revision = rest, ""
    elif not revision:
        raise _fail(text, "after @ the name of a commit, branch or tag is missing")
    if not directory:
        raise _fail(text, "tree: takes the directory of a kernel's source, as in tree:~/linux")
    return TreeSpec(_path(directory).absolute(), revision, flavour)


def _debian_source(text: str, rest: str, flavour: Flavour) -> DebianSource:
    if not _VERSION.fullmatch(rest):
        raise _fail(text, "debian-source: takes a version, as in debian-source:7.3")
    return DebianSource(rest, flavour)


def _base(text: str, base: str, flavour: Flavour) -> TreeSpec | DebianSource:
    kind, _, rest = base.strip().partition(":")
    if kind == "tree":
        return _tree(text, rest, flavour)
    if kind == "debian-source":
        return _debian_source(text, rest, flavour)
    raise _fail(text, "a series or a bug goes on tree:DIR[@REV] or on debian-source:VERSION")


def _series(text: str, rest: str, flavour: Flavour) -> SeriesSpec:
    what, mark, on = rest.rpartition(" on ")
    if not mark or not what.strip():
        raise _fail(
            text, "a series needs a base, as in 'series:FILE.mbox on tree:~/linux' (with quotes)"
        )
    what = what.strip()
    base = _base(text, on, flavour)
    if _path(what).exists():
        return SeriesSpec(base, mbox=_path(what).absolute())
    if _MESSAGE_ID.fullmatch(what):
        return SeriesSpec(base, message_id=what.strip("<>"))
    raise _fail(text, f"there is no file {what}, and a message id looks like 2026...@example.org")


def _bug(text: str, rest: str, flavour: Flavour) -> BugSpec:
    name, mark, on = rest.partition(" on ")
    if not mark or not name.strip():
        raise _fail(text, "a bug needs a base, as in 'bug:NAME on debian-source:7.3' (with quotes)")
    return BugSpec(_base(text, on, flavour), name.strip())


def _flavour(text: str, words: str) -> Flavour:
    chosen: dict[str, bool | Path] = {}
    for word in (part.strip() for part in words.split(",")):
        if word in ("debug", "symbols"):
            chosen[word] = True
        elif word.startswith("config=") and word != "config=":
            chosen["config"] = _path(word.removeprefix("config=")).absolute()
        else:
            raise _fail(text, f"after 'with' come debug, symbols or config=FILE, not {word!r}")
    return Flavour(**chosen)  # type: ignore[arg-type]


def _debian(text: str, rest: str) -> DebianPackage:
    if _VERSION.fullmatch(rest) or _SUITE.fullmatch(rest):
        return DebianPackage(rest)
    raise _fail(text, "debian: takes a suite or a version, as in debian:sid or debian:6.12")


def needs_build(text: str) -> bool:
    """Whether `text` names a source, which has to be built."""
    kind, mark, _ = text.strip().partition(":")
    return bool(mark) and kind in ("tree", "debian-source", "series", "bug")


def parse_spec(text: str, flavour: Flavour | None = None) -> Spec:
    """What `text` names. Nothing is fetched or built; files are only looked for.

    `flavour` is for what has to be built and says nothing of it itself. Raises
    `KernelError`.
    """
    kind, mark, rest = text.strip().partition(":")
    if needs_build(text):
        what, has_words, words = rest.rpartition(" with ")
        chosen = _flavour(text, words) if has_words else flavour or Flavour()
        rest = what if has_words else rest
        if kind == "series":
            return _series(text, rest.strip(), chosen)
        if kind == "bug":
            return _bug(text, rest.strip(), chosen)
        return _base(text, f"{kind}:{rest}", chosen)
    if kind == "debian" and mark:
        return _debian(text, rest.strip())
    if kind == "built" and mark:
        if not re.fullmatch(r"[0-9a-f]{4,}", rest):
            raise _fail(text, "built: takes a key of `ext4diff kernel list`, 4 hex digits or more")
        return BuiltBefore(rest)
    path = _path(text)
    if mark and not path.exists() and re.fullmatch(r"[a-z][a-z-]*", kind):
        raise _fail(text, f"no kind of kernel is called {kind!r}; --kernel takes {HELP}")
    return PathSpec(path)
