"""The image that the model expects: beside a mismatch, or from a workload or a trace."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

import msgspec

from harness.errors import Ext4diffError, UsageError
from harness.programs import config_named, read_program
from harness.start import mount_of, open_start, start_from
from harness.trace import Placement, decode, placement_of
from model import Behaviour, Model
from model.image_writer import Written, write_image
from model.mount import Mount
from vm import mkfs
from workloads.host_files import open_regular
from workloads.images import Image
from workloads.workload import Config, Workload

__all__ = [
    "ACTUAL", "EXPECTED_IMAGE", "START_IMAGE", "Expected", "choices", "expected_of", "keep_image",
]  # fmt: skip

ACTUAL = "actual.json"
"""The file in the folder of a mismatch that holds what the kernel did."""


EXPECTED_IMAGE = "expected.img.gz"
"""The file beside it that holds the disk as the model has it."""
START_IMAGE = "start.img.gz"
"""The file beside it that holds the image that the workload started from, if given one."""
_WHAT = "the disk as the model has it after the workload"


class Expected(msgspec.Struct, frozen=True):
    """What the model is to play: `placement` is where a kernel of `release` put the blocks."""

    workload: Workload
    placement: Placement | None = None
    release: str | None = None

    def write(self, target: Path) -> Written:
        """Write the image to `target`. Raises `NotModelledError`, `UsageError`."""
        base = mkfs.image_file(self.workload.config.image)
        geometry = mkfs.read_geometry(base)
        iomap = "buffered_iomap" in self.workload.config.options
        behaviour = Behaviour.of_release(self.release, iomap=iomap)
        model = Model(behaviour, lambda _image: geometry, open_start)
        return write_image(model.finish(self.workload, self.placement), base, target)


def expected_of(source: Path, on: str | None = None, start: Path | None = None) -> Expected:
    """What `source` says: the folder of a mismatch, a trace (.json), or a workload file.

    `on` (image@mount) chooses the configuration of a workload file, its first one without;
    `start` is the image that it starts from, of which the folder of a mismatch has a copy.
    Raises `UsageError`.
    """
    if source.is_dir():
        kept = source / START_IMAGE
        start = kept if start is None and kept.is_file() else start
        source /= ACTUAL
    image = start_from(start) if start is not None else None
    try:
        if source.suffix == ".json":
            with open_regular(source) as file:
                trace = decode(file.read())
            if on is not None:
                raise UsageError(f"{source} is a trace, which has a configuration: --on is in vain")
            _check_start(source, trace.workload.config.image, image)
            return Expected(trace.workload, placement_of(trace), trace.kernel)
        program = read_program(source, image)
        if image is not None and on is not None:
            config = Config(image, mount_of(on, image))
        else:
            config = program.configs[0] if on is None else config_named(on, program.size)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{source} is no trace: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from error
    if image is not None:
        config = Config(image, config.mount)
    return Expected(Workload(program.name, config, program.ops, program.shows))


def _check_start(source: Path, wanted: Image, given: Image | None) -> None:
    """Whether the trace `source` started from the image that is `given`."""
    if given is None or wanted.sha256 == given.sha256:
        return
    name = wanted.name if wanted.sha256 else "a fresh file system"
    raise UsageError(f"{source} started from {name}, the image given is {given.name}")


def keep_image(mount: Mount, base: Path, directory: Path) -> str:
    """Write the image of `mount`, compressed, to `EXPECTED_IMAGE` in `directory`.

    Returns what the README beside it says of it, or why there is none. `base` is the image
    that the workload started from. Raises `OSError` if the disk is full.
    """
    target = directory / EXPECTED_IMAGE
    target.unlink(missing_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".image-") as folder:
            plain = Path(folder) / "image"
            written = write_image(mount, base, plain)
            with plain.open("rb") as image, gzip.open(target, "wb", compresslevel=1) as packed:
                shutil.copyfileobj(image, packed, 1 << 20)
    except Ext4diffError as error:
        return f"There is no {EXPECTED_IMAGE}, {_WHAT}: {error}"
    return "\n".join([f"{EXPECTED_IMAGE} is {_WHAT}.", *choices(written)])


def choices(written: Written) -> list[str]:
    """What of the image is the writer's choice, a sentence each."""
    sentences = {
        "blocks lie where there was room, not where a kernel put them": written.placed,
        "extent tree and i_blocks are not known, the smallest tree was written": written.rebuilt,
    }
    return [f"{said}: {' '.join(files)}" for said, files in sentences.items() if files]
