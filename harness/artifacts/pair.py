"""The sides that an artifact was recorded with, again: here, or on another machine.

A kernel is known by the SHA-256 of its image. It is looked for under the name that the
user gave then, in the cache, and by its package's version; a package's kernel that can't be
had any more is replaced by the one that there is now, which is said.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from harness.artifacts.archive import ArtifactError
from harness.artifacts.manifest import Manifest, SideNote, sha256_of
from harness.options import choice_of
from harness.pairs import MODEL, Pair, make_pair
from vm import cache
from vm.errors import DownloadError, KernelError
from vm.kernel import resolve_kernel
from vm.kernels.spec import needs_build
from vm.kernels.store import built

__all__ = ["differing_kernels", "kernel_of", "recorded_pair"]

_PACKAGE = re.compile(r"debian:\S+ linux-image-\S+ (\S+)")
"""What the source of a kernel from one of Debian's packages looks like."""
_IMAGES = ("usr/lib/modules/*/vmlinuz", "boot/vmlinuz-*")
"""Where packages have their kernel."""
_SAME_BUILD = ("sha256", "build_id")


def recorded_pair(manifest: Manifest, options: argparse.Namespace) -> Pair:
    """The pair that `manifest` tells of, with what the `options` of a guest change of it.

    Those are `kernel`, `against` and `accel`, None for what was recorded, and
    `strict_model`. Raises `ArtifactError` if a kernel is not here and can't be fetched.
    """
    notes = list(manifest.sides.values())
    chosen = argparse.Namespace(**{**vars(options), "accel": _accel(notes, options.accel)})
    mirror, refresh = options.mirror, options.refresh
    if options.kernel is None:
        if not notes or notes[-1].identity.get("sha256") is None:
            raise ArtifactError(
                "the artifact does not say on which kernel it was recorded; choose one by --kernel"
            )
        chosen.kernel = kernel_of(notes[-1], mirror, refresh)
    against = options.against
    if against is None:
        against = manifest.against
        if against != MODEL and not against.startswith("path:") and len(notes) > 1:
            against = kernel_of(notes[0], mirror, refresh) or against
        if needs_build(against):  # its makefile would run here
            raise ArtifactError(f"what an artifact names is not built ({against}); give --against")
    strict = options.strict_model or manifest.strict
    choice = dataclasses.replace(choice_of(chosen), observe=manifest.observe)
    return make_pair(against, choice, strict=strict)


def _accel(notes: list[SideNote], asked: str | None) -> str:
    """As asked for, else as recorded; KVM only where it works."""
    if asked is not None:
        return asked
    return "tcg" if any(note.identity.get("accel") == "tcg" for note in notes) else "auto"


def kernel_of(note: SideNote, mirror: str | None = None, refresh: bool = False) -> str | None:
    """What `--kernel` takes for the kernel of `note` on this machine; None is the default.

    Raises `ArtifactError` if it is not here and no package: the message says how to get it.
    """
    wanted = note.identity.get("sha256", "")
    own = note.spec is not None and not note.spec.startswith("debian:")
    if not own and _is(note.spec, wanted, mirror, refresh):
        return note.spec
    for path in _here(note):
        if _sha256(path) == wanted:
            return str(path)
    if own:
        raise ArtifactError(_absent(note))
    package = _PACKAGE.match(note.identity.get("kernel", ""))
    if package is not None and _is(f"debian:{package[1]}", wanted, mirror, refresh):
        return f"debian:{package[1]}"
    return note.spec


def _is(spec: str | None, wanted: str, mirror: str | None, refresh: bool) -> bool:
    """Whether `spec` is a kernel that can be had, with the wanted image."""
    with contextlib.suppress(KernelError, DownloadError):
        return resolve_kernel(spec, mirror, refresh).sha256 == wanted
    return False


def _here(note: SideNote) -> Iterator[Path]:
    """Images on this machine that may be the kernel of `note`."""
    if note.spec is not None and not needs_build(note.spec):
        path = Path(note.spec).expanduser()
        yield from (file for file in (path, path / "arch/x86/boot/bzImage") if file.is_file())
    yield from (kernel.image for kernel in built() if kernel.image.is_file())
    for pattern in _IMAGES:
        yield from sorted((cache.cache_root() / "kernels").glob(f"*/{pattern}"))


def _sha256(path: Path) -> str:
    with contextlib.suppress(OSError):
        return sha256_of(path)
    return ""


def _absent(note: SideNote) -> str:
    """How to get a kernel that came from a file or was built."""
    known = note.identity
    what = f"it was recorded on kernel {note}, sha256 {known.get('sha256', '')[:12]}"
    if note.spec is not None and (needs_build(note.spec) or known.get("base")):
        base = f", base {known['base'][:12]}" if known.get("base") else ""
        series = f", with a series: {known['series']}" if known.get("series") else ""
        how = (
            f"it was built from {known.get('source', note.spec)}{base}{series}: build it with"
            " ext4diff kernel build SPEC, the configuration is beside the manifest"
        )
    else:
        how = f"copy {note.spec or 'its image'} from where it was recorded"
    return (
        f"{what}, which is not on this machine: {how}, and give it by --kernel; with another"
        " one there the workload runs too, and the result says that it is another"
    )


def differing_kernels(manifest: Manifest, pair: Pair) -> list[str]:
    """A sentence for each side that now runs another kernel than was recorded."""
    lines = []
    for side in pair.sides:
        note, now = manifest.sides.get(side.name), side.identity()
        if note is None or not now:
            continue
        then = [note.identity.get(name) for name in _SAME_BUILD]
        if any(one and one == now.get(name) for name, one in zip(_SAME_BUILD, then, strict=True)):
            continue
        lines.append(f"recorded on kernel {note}; this is {SideNote(now)}")
    return lines
