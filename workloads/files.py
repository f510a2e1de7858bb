"""Workload files: reading one, and the catalogue that comes with the project."""

from __future__ import annotations

import errno
import functools
import re
from pathlib import Path

from workloads.host_files import refuse_disk
from workloads.images import Image
from workloads.program import Program
from workloads.syntax import SUFFIX, WorkloadSyntaxError, parse

__all__ = ["CATALOGUE", "catalogue", "load", "read_text", "topics"]

CATALOGUE = Path(__file__).parent / "catalogue"
"""The folder of the catalogue: one folder a topic, one file a program."""
LARGEST = 256 * 1024 * 1024
"""Bytes of the largest text that is read: /dev/zero, say, has no end."""


def read_text(path: Path, hint: str) -> str:
    """The text in the file `path`, which must be UTF-8; `hint` says what it should have been.

    Raises OSError, also if the file is too large, and WorkloadSyntaxError if it is no text.
    """
    refuse_disk(path)
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 20} MiB", str(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise WorkloadSyntaxError(str(path), line, column, f"this is no text; {hint}") from error


def load(path: Path, kept: Image | None = None) -> Program:
    """The program in a workload file, named like the file without its suffix.

    `kept` is the image in a file that it may run on. Characters that a program's name can't
    have become `-`. Raises OSError, and WorkloadSyntaxError if the file is not UTF-8 or its
    text is no program.
    """
    text = read_text(path, "a workload file is UTF-8")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", path.name.removesuffix(SUFFIX)) or "workload"
    return parse(text, name, str(path), kept)


def topics() -> list[str]:
    """The catalogue's topics, sorted."""
    return sorted(path.name for path in CATALOGUE.iterdir() if path.is_dir())


@functools.cache
def catalogue(topic: str | None = None) -> tuple[Program, ...]:
    """The catalogue's programs (of one topic), sorted by topic and name; read once.

    Raises FileNotFoundError if there is no such topic.
    """
    if topic is not None and topic not in topics():
        raise FileNotFoundError(f"no topic {topic} in the catalogue; topics: {', '.join(topics())}")
    pattern = f"{topic or '*'}/*{SUFFIX}"
    return tuple(load(path) for path in sorted(CATALOGUE.glob(pattern)))
