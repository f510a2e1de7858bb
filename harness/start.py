"""The image file that a workload starts from, for both sides: looked at, copied, described."""

from __future__ import annotations

from pathlib import Path

from harness.errors import NotModelledError, UsageError
from harness.image.check import problems
from harness.image.survey import Survey
from model import Behaviour
from model.image import features
from model.image.filesystem import Filesystem
from model.image.source import FileSource
from model.image.volume import Volume
from model.image_load import load_image
from model.mount import Mount
from model.placement import Placer
from vm import mkfs
from vm.kept_images import take
from workloads.images import Image, kept_name
from workloads.workload import Config

__all__ = ["mount_of", "open_start", "require_modelled", "start_from"]

_TOLD = 5
"""Complaints about an image that are told."""


def start_from(path: Path) -> Image:
    """The image in the file `path`, raw or compressed, as workloads name it.

    A copy of it is kept, so that model and guest start from the same bytes. Raises
    `UsageError` if it is no ext4 image, larger than the guest's device, damaged by our own
    check or by e2fsck's, or needs recovery.
    """
    digest, copy = take(path, lambda made: _check(made, str(path)))
    with _opened(copy, str(path)) as fs:
        volume = fs.volume
        size = volume.blocks_count * volume.block_size
        return Image(kept_name(digest), size, _options(volume), digest)


def open_start(image: Image) -> Filesystem:
    """The image that workloads on `image` start from, to be read."""
    return _opened(mkfs.image_file(image), image.name)


def mount_of(name: str, start: Image) -> str:
    """The mount options of the configuration `name`, given with --on, which may leave out the
    image. Raises `UsageError` if it names another one than `start`."""
    image, at, mount = name.partition("@")
    if not at or not mount or image not in ("", start.name):
        raise UsageError(
            f"--on {name}: the image is that of --from; write only the mount options: --on @"
            f"{mount or 'delalloc'}"
        )
    return mount


def require_modelled(image: Image, name: str) -> None:
    """Raise `NotModelledError` if the model can't start from `image`, naming what it lacks;
    `name` is how the user calls the image."""
    geometry = mkfs.read_geometry(mkfs.image_file(image))
    placer = Placer(None, geometry.block_size)
    with open_start(image) as fs:
        try:
            load_image(Mount(Config(image), geometry, Behaviour(), placer), fs)
        except NotModelledError as error:
            raise NotModelledError(f"{name}: {error}") from error


def _opened(copy: Path, name: str) -> Filesystem:
    """The image in `copy`, which messages call `name`."""
    source = FileSource(copy)
    source.name = name
    try:
        return Filesystem(source)
    except BaseException:
        source.close()
        raise


def _check(copy: Path, name: str) -> None:
    with _opened(copy, name) as fs:
        if fs.volume.incompat(features.RECOVER):
            raise UsageError(
                f"{name}: the journal needs recovery; mount and unmount the image, or let "
                "e2fsck -fp replay it, and then start from it"
            )
        found = [str(problem) for problem in problems(Survey(fs))]
    if found:
        raise UsageError(f"{name} is damaged, nothing can start from it: {_told(found)}")
    said = mkfs.fsck(copy).replace(str(copy), name)
    if said:
        lines = said.splitlines()
        raise UsageError(f"{name}: e2fsck complains, nothing can start from it: {_told(lines)}")


def _told(lines: list[str]) -> str:
    more = f" (and {len(lines) - _TOLD} more)" if len(lines) > _TOLD else ""
    return "; ".join(lines[:_TOLD]) + more


def _options(volume: Volume) -> tuple[str, ...]:
    """mke2fs options that describe the image as far as anyone asks an `Image`."""
    sb = volume.sb
    words = features.feature_names(sb.feature_compat, sb.feature_incompat, sb.feature_ro_compat)
    names = {_WORDS.get(word, word) for word in words}
    added = [name for name in _ADDED if name in names]
    missing = [f"^{name}" for name in _USUAL if name not in names]
    options = ["-b", str(volume.block_size), "-O", ",".join([*added, *missing]) or _USUAL[0]]
    if volume.ratio > 1:
        options += ["-C", str(volume.cluster_size)]
    return tuple(options)


_WORDS = {"extent": "extents"}
"""What mke2fs and workloads call features that dumpe2fs calls otherwise."""
_ADDED = ("bigalloc", "casefold", "encrypt", "inline_data", "quota", "verity")
_USUAL = ("resize_inode", "extents", "64bit", "has_journal", "metadata_csum", "huge_file")
