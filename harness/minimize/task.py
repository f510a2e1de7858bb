"""What is to be minimized: a kept mismatch, or a workload that is to show one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.artifacts.archive import SUFFIX
from harness.artifacts.artifact import FOLDER, folder_name, results_folder
from harness.artifacts.manifest import Manifest
from harness.artifacts.read import open_artifact
from harness.errors import UsageError
from harness.lab import Lab
from harness.signature import Signature, signature_of
from harness.verdict import Outcome
from reports.terminal import headline
from workloads.workload import Workload

__all__ = ["Task", "artifact_task", "mismatching", "workload_task"]

MINIMIZED = ".min"
"""What the names of results end with."""


@dataclass(frozen=True)
class Task:
    """What is to be minimized: the first of `workloads` that mismatches.

    `source` is what the user named; `base` is where results go, without their suffixes (None:
    in a folder of their own, named by the workload). For an artifact, `target` is the mismatch
    that it recorded, `manifest` says how, and `notes` what is not as it was written.
    """

    workloads: Sequence[Workload]
    source: str
    folder: Path
    base: str | None = None
    target: Signature | None = None
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()

    def result(self, workload: Workload) -> Path:
        """The directory of the minimal artifact; other results begin with its name."""
        return self.folder / f"{self.base or folder_name(workload.name)}{MINIMIZED}"


@contextlib.contextmanager
def artifact_task(source: str, results: str | None) -> Iterator[Task]:
    """The task that an artifact is. Raises what `open_artifact` does, and `UsageError` if it
    holds no mismatch."""
    path = Path(source)
    with open_artifact(path) as artifact:
        target = signature_of(artifact.verdict)
        if target is None:
            raise UsageError(f"{source} holds no mismatch: {headline(artifact.verdict)}")
        artifact.provide_start()
        there = path.absolute()
        yield Task(
            workloads=(artifact.workload,),
            source=source,
            folder=results_folder(results) if results else there.parent,
            base=there.name.removesuffix(SUFFIX),
            target=target,
            manifest=artifact.manifest,
            notes=tuple(f"{source}: {note}" for note in artifact.notes),
        )


def workload_task(workloads: Sequence[Workload], source: str, results: str | None) -> Task:
    """The task that a workload file or a line of operations is."""
    return Task(workloads, source, results_folder(results or FOLDER))


def mismatching(task: Task, lab: Lab) -> Workload:
    """The workload to minimize, on the first configuration and path on which it mismatches.

    Raises `UsageError` if it agrees on all of them.
    """
    candidates = [
        msgspec.structs.replace(workload, config=config)
        for workload in task.workloads
        for _, config in lab.variants(workload.config)
    ]
    if task.target is not None or len(candidates) == 1:
        return task.workloads[0] if task.target is not None else candidates[0]
    said = []
    for workload in candidates:
        verdict = lab.run(workload).verdict
        if verdict.outcome is Outcome.MISMATCH:
            return workload
        said.append(f"  {headline(verdict)}")
    raise UsageError("\n".join([f"{task.source} mismatches on no configuration:", *said]))
