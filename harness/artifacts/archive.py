"""Archives of artifacts: `NAME.tar.zst`, one directory of plain files.

What comes from elsewhere is not trusted: a member is a file directly in the one directory,
or it is refused, whatever else tar knows. Only names and bytes are taken, no links, modes
or owners; and neither number nor size can grow beyond what an artifact may have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import MachineryError, UsageError
from vm.scratch import scratch
from vm.zstd import zstd
from workloads.host_files import open_regular

__all__ = ["SUFFIX", "ArtifactError", "pack", "unpacked"]

SUFFIX = ".tar.zst"
OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 10,
    zstd.CompressionParameter.checksum_flag: 1,  # changed bytes are told, not unpacked
}
MOST_FILES = 200
MOST_BYTES = 1 << 30
"""Unpacked; images are the largest part, four of 64 MiB at most before compression."""
_PIECE = 1 << 20
"""Bytes that are read at once. What tarfile wants more of at once is a header."""
_MAGIC = b"\x28\xb5\x2f\xfd"


class ArtifactError(UsageError):
    """An artifact that can't be used as it is; the message says why, and what still can be done."""


class _TooLargeError(Exception):
    """An archive holds more than an artifact can have."""


class _Bounded(zstd.ZstdFile):
    """A zstd file that ends with an error instead of without end."""

    def read(self, size: int | None = -1) -> bytes:
        """As ever, but not beyond the bounds."""
        if size is None or not 0 <= size <= _PIECE:
            raise _TooLargeError("a header in it is longer than any of an artifact")
        self._within(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ever, but not beyond the bounds: to seek is to unpack."""
        self._within(offset)
        return super().seek(offset, whence)

    def _within(self, offset: int) -> None:
        if offset > MOST_BYTES + _PIECE:
            raise _TooLargeError(f"it holds more than {MOST_BYTES >> 20} MiB")


def pack(directory: Path, target: Path) -> None:
    """Write the files of `directory` into the archive `target`, whole or not at all.

    Raises `OSError` if the disk is full.
    """
    temporary = target.with_name(f".{os.getpid()}{SUFFIX}")
    try:
        with (
            zstd.ZstdFile(temporary, "w", options=OPTIONS) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for path in sorted(directory.iterdir()):
                if path.is_file() and not path.is_symlink():
                    archive.add(path, f"{directory.name}/{path.name}", filter=_anonymous)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the owner's name and number, which are nobody's business."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The directory in the archive `path`, unpacked for as long as the context lasts.

    Raises `ArtifactError` if it is no such archive, is damaged, or holds anything but plain
    files in one directory; `MachineryError` if there is no room for them.
    """
    with scratch() as folder:
        try:
            directory = _unpack(path, folder)
        except _TooLargeError as error:
            raise ArtifactError(f"{path} is no artifact of ext4diff: {error}") from error
        except (tarfile.TarError, zstd.ZstdError, EOFError) as error:
            raise ArtifactError(
                f"{path} is damaged or cut short ({error}): get it again; what can still be"
                f" read of it, as by hand: tar --zstd -xf {path}"
            ) from error
        except OSError as error:
            raise MachineryError(
                f"cannot unpack {path} below {folder}: {error.strerror or error}; free some"
                " space, or set TMPDIR to a directory with more"
            ) from error
        yield directory


def _unpack(path: Path, folder: Path) -> Path:
    try:
        file = open_regular(path)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    with file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ArtifactError(f"{path} is neither a directory nor a {SUFFIX} archive")
        file.seek(0)
        with _Bounded(file) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
            directory = _take(path, archive, folder)
            while plain.read(_PIECE):  # the checksum is at the very end
                pass
            return directory


def _take(path: Path, archive: tarfile.TarFile, folder: Path) -> Path:
    """Write the files of `archive` below `folder`; the directory that they are in."""
    total, top = 0, ""
    for count, member in enumerate(archive):
        directory, _, name = member.name.partition("/")
        if member.isdir() and not name and directory == (top or directory):
            continue
        total += member.size
        if count >= MOST_FILES or total > MOST_BYTES:
            raise _TooLargeError(f"more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
        target = folder / directory / name
        if (
            not _is_plain(member, directory, name)
            or directory != (top or directory)
            or (target.exists())
        ):
            raise ArtifactError(
                f"{path} is no artifact of ext4diff: it holds {member.name!r}, which is no"
                " plain file of its one directory; nothing was unpacked"
            )
        top = directory
        target.parent.mkdir(exist_ok=True)
        data = archive.extractfile(member)
        assert data is not None  # it is a file
        with target.open("xb") as out:
            shutil.copyfileobj(data, out, _PIECE)
    if not top:
        raise ArtifactError(f"{path} is no artifact of ext4diff: it holds no file")
    return folder / top


def _is_plain(member: tarfile.TarInfo, directory: str, name: str) -> bool:
    """Whether it is a plain file, and its name that of a file in a directory."""
    parts = (directory, name)
    return (
        member.isreg()
        and not member.issparse()
        and all(part not in ("", ".", "..") and "\0" not in part for part in parts)
        and all(len(os.fsencode(part)) <= 255 for part in parts)
        and "/" not in name
    )
