"""What the sides of a comparison say of an image: what is wrong with it, what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import NotModelledError
from harness.image.canonical import canonical_of
from harness.image.check import problems
from harness.image.form import FORM
from harness.image.survey import Survey
from harness.trace import Final
from model.image.errors import ImageError
from model.image.filesystem import Filesystem
from model.image_writer import image_of
from workloads.ops import Rename, calls

if TYPE_CHECKING:
    from pathlib import Path

    from harness.trace import Trace
    from model.mount import Mount
    from workloads.workload import Config

__all__ = ["cut_back", "with_expected_image", "with_image"]


def cut_back(trace: Trace) -> frozenset[str]:
    """Paths of the files that were seen longer than they are at the end."""
    if trace.final is None:
        return frozenset()
    seen: dict[str, int] = {}
    for step in trace.steps:
        for name, file in step.observation.files.items():
            seen[name] = max(seen.get(name, 0), file.size or 0)
    if any(isinstance(op, Rename) for op in calls(trace.workload.ops)):  # under any name
        seen = dict.fromkeys(trace.final.observation.files, max(seen.values(), default=0))
    return frozenset(
        f"/{name}"
        for name, file in trace.final.observation.files.items()
        if file.size is not None and file.size < seen.get(name, 0)
    )


def with_image(
    final: Final,
    path: Path,
    config: Config,
    shut_down: bool,
    longer: frozenset[str] = frozenset(),
) -> Final:
    """`final` with what the image `path` of `config` holds, and what our own check has
    against it.

    A file system that was `shut_down` may have what a crash leaves: bytes past the end in blocks
    that were written while the file was longer (paths in `longer`), and without a journal that
    orders data in any that were never written; without a journal no mark of a clean umount
    (ext4_setup_super, ext4_put_super).
    """
    journal = "^has_journal" not in config.image.features
    ordered = journal and "data=writeback" not in config.options

    def is_left(where: str) -> bool:
        return not journal if where == "superblock" else not ordered or where in longer

    try:
        with Filesystem.open(path) as fs:
            survey = Survey(fs)
            found = tuple(
                str(problem)
                for problem in problems(survey)
                if not (shut_down and problem.of_crash and is_left(problem.where))
            )
            return msgspec.structs.replace(final, image=found, form=canonical_of(survey))
    except ImageError as error:
        unread = {**final.unpredicted, FORM: "the image cannot be read"}
        return msgspec.structs.replace(final, image=(str(error),), unpredicted=unread)


def with_expected_image(final: Final, mount: Mount, base: Path) -> Final:
    """`final` with what the image of `mount`, which began as `base`, holds.

    What the model does not know of it is named in `unpredicted`; what it refuses to write,
    too. `image` is None unless the model contradicts itself: it has no image to be judged.
    """
    try:
        with image_of(mount, base) as (fs, written):
            survey = Survey(fs)
            found = tuple(str(problem) for problem in problems(survey)) or None
            form = canonical_of(survey)
    except NotModelledError as error:
        unknown = {**final.unpredicted, FORM: str(error)}
        return msgspec.structs.replace(final, unpredicted=unknown)
    except ImageError as error:
        unknown = {**final.unpredicted, FORM: "the model contradicts itself"}
        return msgspec.structs.replace(final, image=(str(error),), unpredicted=unknown)
    unknown = dict(final.unpredicted)
    for name in written.rebuilt:
        unknown[f"/{name}.image blocks"] = _TREE
        unknown["image free_blocks"] = _TREE
    for name in written.undefined:
        unknown[f"/{name}.image content"] = "its bytes are undefined"
    return msgspec.structs.replace(final, image=found, form=form, unpredicted=unknown)


_TREE = "it depends on the extent tree, and that on where blocks lie, which is not known"
