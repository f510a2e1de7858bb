"""Workload files: reading one, and the catalogue that comes with the project."""

from __future__ import annotations

import re
from pathlib import Path

from workloads.images import Image
from workloads.program import Program
from workloads.syntax import SUFFIX, WorkloadSyntaxError, parse

__all__ = ["CATALOGUE", "catalogue", "load", "topics"]

CATALOGUE = Path(__file__).parent / "catalogue"
"""The folder of the catalogue: one folder a topic, one file a program."""


def load(path: Path, kept: Image | None = None) -> Program:
    """The program in a workload file, named like the file without its suffix.

    `kept` is the image in a file that it may run on. Characters that a program's name can't
    have become `-`. Raises OSError, and WorkloadSyntaxError if the file is not UTF-8 or its
    text is no program.
    """
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise WorkloadSyntaxError(
            str(path), line, column, "this is no text; a workload file is UTF-8"
        ) from error
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", path.name.removesuffix(SUFFIX)) or "workload"
    return parse(text, name, str(path), kept)


def topics() -> list[str]:
    """The catalogue's topics, sorted."""
    return sorted(path.name for path in CATALOGUE.iterdir() if path.is_dir())


def catalogue(topic: str | None = None) -> list[Program]:
    """The catalogue's programs (of one topic), sorted by topic and name.

    Raises FileNotFoundError if there is no such topic.
    """
    if topic is not None and topic not in topics():
        raise FileNotFoundError(f"no topic {topic} in the catalogue; topics: {', '.join(topics())}")
    pattern = f"{topic or '*'}/*{SUFFIX}"
    return [load(path) for path in sorted(CATALOGUE.glob(pattern))]
