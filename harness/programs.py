"""Workload files and configurations as users name them: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from workloads.files import load
from workloads.images import IMAGES, Image
from workloads.program import Program, config_of
from workloads.syntax import WorkloadSyntaxError
from workloads.workload import Config

__all__ = ["config_named", "read_program"]


def read_program(path: Path, kept: Image | None = None) -> Program:
    """The program in the workload file `path`; `kept` is the image in a file that it may run on.

    Raises `UsageError` if there is none.
    """
    try:
        return load(path, kept)
    except WorkloadSyntaxError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def config_named(name: str, size: int | None = None) -> Config:
    """The configuration `name`, as in `4k@delalloc`, on an image of `size` bytes if given.

    Raises `UsageError` if it is none, or its image is unknown.
    """
    image, _, mount = name.partition("@")
    if image not in IMAGES or not mount:
        raise UsageError(
            f"{name} is no configuration; write IMAGE@MOUNT, as in 4k@delalloc; images are "
            f"{', '.join(IMAGES)}"
        )
    try:
        return config_of(name, size)
    except ValueError as error:
        raise UsageError(f"{name} is no configuration: {error}") from error
