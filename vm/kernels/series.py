"""A patch series in a file: its mails, in order and without a gap.

What git would apply is what counts, so git itself splits and decodes the mails (`git
mailsplit`, `git mailinfo`). Replies and a cover letter carry no patch and are left out.
"""

from __future__ import annotations

import email
import email.header
import email.policy
import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vm.errors import MachineryError, PatchError
from vm.kernels.git import Git
from vm.scratch import scratch

__all__ = ["Patch", "Series", "read_series"]

_PREFIX = re.compile(r"^\s*\[([^]]*)\]")
_NUMBER = re.compile(r"\b(\d+)/(\d+)\b")
_VERSION = re.compile(r"\bv(\d+)\b", re.I)
_BASE = re.compile(r"^base-commit: ([0-9a-f]{12,40})\s*$", re.M)
_DIFF = re.compile(r"^(?:diff --git |--- \S.*\n\+\+\+ \S)", re.M)
_TOUCHED = (
    re.compile(r"^(?:---|\+\+\+) [ab]/([^\t\n]+)", re.M),
    re.compile(r"^(?:rename|copy) (?:from|to) (.+)$", re.M),
    re.compile(r"^diff --git a/(\S+) b/\S+$", re.M),
    re.compile(r"^diff --git a/\S+ b/(\S+)$", re.M),
)


@dataclass(frozen=True)
class Patch:
    """One mail with a patch: `text` is the mail, `diff` its decoded change.

    `number` and `total` are those of the subject's prefix, 0 if it has none; `version` is
    the series', 1 if not said.
    """

    subject: str
    message_id: str
    text: bytes
    diff: str
    number: int = 0
    total: int = 0
    version: int = 1

    @property
    def title(self) -> str:
        """The subject without what stands in brackets before it."""
        title = self.subject
        while _PREFIX.match(title):
            title = _PREFIX.sub("", title, count=1).strip()
        return title

    @property
    def touched(self) -> set[str]:
        """Paths that it may read or write."""
        return {path for pattern in _TOUCHED for path in pattern.findall(self.diff)}


@dataclass(frozen=True)
class Series:
    """Patches in the order in which they apply; `base` is the commit that it names, or ""."""

    patches: tuple[Patch, ...]
    base: str


def _unpacked(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise PatchError(f"{path} is no regular file; give an mbox")
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise PatchError(f"cannot read {path}: {error}") from error


def _mails(data: bytes, folder: Path) -> list[bytes]:
    """The mails of an mbox, or the one that the file is."""
    mbox = folder / "mbox"
    mbox.write_bytes(data)
    (folder / "mails").mkdir()
    git = Git(folder)
    # An mbox without "From " at its start is taken for one mail (-b).
    git.output("mailsplit", "-b", "--keep-cr", "-omails", str(mbox))
    return [file.read_bytes() for file in sorted((folder / "mails").iterdir())]


def _header(message: email.message.Message, name: str) -> str:
    parts = email.header.decode_header(message.get(name, ""))
    words = (
        part.decode(charset or "utf-8", "replace") if isinstance(part, bytes) else part
        for part, charset in parts
    )
    return " ".join("".join(words).split())


def _patch(mail: bytes, folder: Path) -> Patch | None:
    """The patch in a mail; None if it carries none or is a reply."""
    message = email.message_from_bytes(mail)
    subject = _header(message, "Subject")
    if not subject or re.match(r"(re|aw|fwd?)\s*:", subject, re.I):
        return None
    try:
        Git(folder).output("mailinfo", "-b", "message", "diff", stdin=mail)
    except MachineryError:
        return None
    diff = (folder / "diff").read_text("utf-8", "replace")
    if not _DIFF.search(diff):
        return None
    prefix = _PREFIX.match(subject)
    words = prefix[1] if prefix else ""
    number, version = _NUMBER.search(words), _VERSION.search(words)
    return Patch(
        subject, _header(message, "Message-ID").strip("<>"), mail, diff,
        int(number[1]) if number else 0, int(number[2]) if number else 0,
        int(version[1]) if version else 1,
    )  # fmt: skip


def _in_order(patches: Iterable[Patch], name: str) -> tuple[Patch, ...]:
    """The patches by their numbers; `PatchError` names what is missing or there twice."""
    found = list({patch.text: patch for patch in patches}.values())
    if all(not patch.total for patch in found):
        return tuple(found)
    bare = next((patch for patch in found if not patch.total), None)
    if bare is not None:
        raise PatchError(
            f"{name} holds numbered patches and {bare.subject!r}, which has no number; "
            "where it belongs can't be told: remove it, or number it"
        )
    kinds = {(patch.version, patch.total): patch for patch in found}
    if len(kinds) > 1:
        names = " and ".join(repr(patch.subject) for patch in list(kinds.values())[:2])
        raise PatchError(f"{name} holds more than one series: {names}; give one of them")
    (version, total) = next(iter(kinds))
    by_number: dict[int, Patch] = {}
    for patch in found:
        other = by_number.setdefault(patch.number, patch)
        if other is not patch:
            raise PatchError(
                f"{name} has two patches {patch.number}/{total}: {other.title!r} "
                f"and {patch.title!r}; give one series"
            )
    _require_whole(by_number, version, total, name)
    return tuple(by_number[number] for number in sorted(by_number))


def _require_whole(found: dict[int, Patch], version: int, total: int, name: str) -> None:
    missing = [number for number in range(1, total + 1) if number not in found]
    if not missing:
        return
    mark = f"v{version} " if version > 1 else ""
    width = len(str(total))
    names = ", ".join(f"[PATCH {mark}{number:0{width}}/{total}]" for number in missing[:6])
    more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
    example = next((patch.message_id for patch in found.values() if patch.message_id), "MESSAGE-ID")
    raise PatchError(
        f"{name} is not the whole series: {names}{more} "
        f"{'is' if len(missing) == 1 else 'are'} missing; `b4 am {example}` fetches all of it"
    )


def read_series(path: Path, name: str = "") -> Series:
    """The series in the file `path`: an mbox (gzip too) or one mail, as of git format-patch.

    `name` is what messages call it. Raises `PatchError` if it holds no patch or not all.
    """
    name = name or str(path)
    if path.is_dir():
        raise PatchError(f"{name} is a directory; `cat {name}/*.patch > series.mbox` makes an mbox")
    data = _unpacked(path)
    with scratch() as folder:
        try:
            mails = _mails(data, folder)
        except MachineryError:
            mails = []
        found = [_patch(mail, folder) for mail in mails]
    patches = [patch for patch in found if patch is not None]
    if not patches:
        if _DIFF.search(data.decode("utf-8", "replace")):
            raise PatchError(
                f"{name} is a diff without a mail around it; commit it and use tree:DIR, "
                "or make a mail of it with git format-patch"
            )
        raise PatchError(
            f"{name} holds no patch: it is neither an mbox nor what git format-patch writes"
        )
    bases = (_BASE.search(mail.decode("utf-8", "replace")) for mail in mails)
    base = next((match[1] for match in bases if match), "")
    return Series(_in_order(patches, name), base)
