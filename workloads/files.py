"""Workload files: reading one, and the catalogue that comes with the project."""

from __future__ import annotations

from pathlib import Path

from workloads.program import Program
from workloads.syntax import SUFFIX, parse

__all__ = ["CATALOGUE", "catalogue", "load", "topics"]

CATALOGUE = Path(__file__).parent / "catalogue"
"""The folder of the catalogue: one folder a topic, one file a program."""


def load(path: Path) -> Program:
    """The program in a workload file, named like the file without its suffix.

    Raises OSError, UnicodeDecodeError, and WorkloadSyntaxError from the text.
    """
    return parse(path.read_text("utf-8"), path.name.removesuffix(SUFFIX), str(path))


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
