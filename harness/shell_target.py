"""Where a shell opens: at which step of which workload, and on which kernel."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path

from harness.artifacts.manifest import SideNote
from harness.artifacts.pair import kernel_of as recorded_kernel
from harness.artifacts.read import Artifact, is_artifact, open_artifact
from harness.commands.run import FIRST_CONFIG, workloads_of
from harness.errors import UsageError
from harness.pairs import AGAINST_PATH
from harness.sides.side import on_path
from harness.start import start_from
from harness.trace import Trace
from vm.apt import progress
from vm.kernel import Kernel, resolve_kernel
from vm.kernels.identity import KernelIdentity
from workloads.program import config_of
from workloads.workload import PATHS, Workload

__all__ = ["Target", "target_of"]


@dataclass(frozen=True)
class Target:
    """A shell opens when the first `at` steps of `workload` are done.

    The steps are held against `expected`. `side` is the kernel that an artifact's run tested;
    `title` says what it is about.
    """

    workload: Workload
    at: int = 0
    expected: Trace | None = None
    side: SideNote | None = None
    title: str = ""

    def kernel(self, options: argparse.Namespace) -> Kernel:
        """The kernel to boot: the one that `options` ask for, the artifact's, or the default.

        Raises `ArtifactError` if the artifact's is not to be had.
        """
        spec = options.kernel
        if spec is None and self.side is not None:
            spec = recorded_kernel(self.side, options.mirror, options.refresh)
        return resolve_kernel(spec, options.mirror, options.refresh)

    def other_kernel(self, running: KernelIdentity) -> str:
        """What to say if the kernel that runs is not the one of the artifact; else ""."""
        wanted = self.side.identity.get("build_id", "") if self.side is not None else ""
        if not wanted or not running.build_id or wanted == running.build_id:
            return ""
        return (
            f"the artifact is of kernel {self.side}, this is {running.release} (build id"
            f" {running.build_id[:12]}): it may behave differently"
        )


def target_of(
    text: str | None, on: str | None, start: Path | None, stack: contextlib.ExitStack
) -> Target:
    """What `text` names: an artifact, a workload's file, a line, or (None) nothing but a file
    system, on the configuration `on` or the image `start`.

    An artifact stays open until `stack` is unwound. Raises `UsageError`.
    """
    if text is not None and is_artifact(Path(text)):
        if on or start:
            raise UsageError("--on and --from: an artifact has its own file system")
        return _of_artifact(stack.enter_context(open_artifact(Path(text))))
    if text is not None and Path(text).is_dir():
        with open_artifact(Path(text)):  # says what is wrong with it
            pass
    image = start_from(start) if start is not None else None
    if text is not None:
        return Target(workloads_of(text, [on] if on else [], image)[0])
    if image is None:
        name = on or FIRST_CONFIG
        return Target(Workload("shell", config_of(name if "@" in name else f"{name}@delalloc"), ()))
    config = workloads_of("sync", [on] if on else [], image)[0].config
    return Target(Workload("shell", config, ()))


def _of_artifact(artifact: Artifact) -> Target:
    """Before the first step that differs, on the path that the kernel under test took."""
    artifact.provide_start()
    for note in artifact.notes:
        progress(note)
    manifest = artifact.manifest
    steps, parting = len(artifact.workload.ops), artifact.verdict.parting
    path = AGAINST_PATH.get(manifest.against)
    tested = next(name for name in PATHS if name != path) if path else None
    side = list(manifest.sides.values())[-1] if manifest.sides else None
    return Target(
        on_path(artifact.workload, tested),
        int(min(max(parting, 0), steps)),
        artifact.expected,
        side,
        f"{artifact.path}: {manifest.said}",
    )
