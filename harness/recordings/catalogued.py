"""What of the catalogue a recording lacks: programs are added to it, and changed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.recordings.recheck import Job
from harness.sides.side import without_path_option
from workloads.files import catalogue
from workloads.ops import AnyOp

__all__ = ["uncatalogued"]


def uncatalogued(jobs: Iterable[Job]) -> list[str]:
    """The workloads of the catalogue, whatever their path, that `jobs` lack, or have with other
    operations, in words. Raises `UsageError` if a line is damaged."""
    recorded: dict[str, list[tuple[AnyOp, ...]]] = {}
    for job in jobs:
        head = job.head()
        name = f"{head.program}@{without_path_option(head.config).name}"
        recorded.setdefault(name, []).append(_ops(head.ops))
    found = []
    for program in catalogue():
        for config in program.configs:
            name = f"{program.name}@{without_path_option(config).name}"
            if name not in recorded:
                found.append(f"{name} was not recorded")
            elif program.ops not in recorded[name]:
                found.append(f"{name} has other operations than were recorded")
    return list(dict.fromkeys(found))


def _ops(ops: object) -> tuple[AnyOp, ...]:
    if isinstance(ops, bytes):
        return msgspec.json.decode(ops, type=tuple[AnyOp, ...])
    assert isinstance(ops, tuple)
    return ops
