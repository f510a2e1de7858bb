"""A kernel under test whose run QEMU records (`ext4diff replay --rr`)."""

from __future__ import annotations

from pathlib import Path

from harness.errors import MachineryError, UsageError
from harness.pairs import Pair
from harness.sides.machine import GuestSide
from harness.verdict import Verdict
from vm.initramfs import boot_files
from vm.record_replay import FILES, Recorder
from vm.replaying import read_recording

__all__ = ["RecordingSide", "first_step", "forwards_only", "how_to_go_on", "record_into"]


class RecordingSide(GuestSide):
    """As `like`, but its one run is recorded into the directory `folder`, for who wants to see
    step `step` (from 0)."""

    def __init__(self, like: GuestSide, folder: Path, step: int) -> None:
        super().__init__(like.choice, like.forced_path)
        self.name = like.name
        self._folder, self._step = folder, step

    def prepare(self) -> None:
        """As ever; a guest that told what the kernel is ends."""
        super().prepare()
        self.close()
        if self._kernel is None:
            raise MachineryError("the guest was not prepared")
        choice = self.choice
        files = boot_files(self._kernel, mirror=choice.mirror)
        self._guests = Recorder(self._kernel, files, self._folder, self._step)

    def header(self) -> list[str]:
        """Also where the recording goes."""
        return [*super().header(), f"recording into {self._folder} (TCG, counting instructions)"]


def record_into(pair: Pair, folder: Path, step: int) -> None:
    """Have what the side under test of `pair` does recorded into the directory `folder`; `step`
    (from 0) is where a debugger will want to stop.

    Raises `UsageError` if there is something already, or if that side is no guest.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--rr {folder}: it exists; a recording needs a directory of its own")
    side = pair.actual
    if not isinstance(side, GuestSide):
        raise UsageError(
            f"--rr: {side.name} is no kernel in a guest, so there is nothing to record"
        )
    pair.actual = RecordingSide(side, folder.absolute(), step)
    pair.expected.meet(pair.actual)


def first_step(verdict: Verdict) -> int:
    """The step (from 0) at which a debugger wants to stop: the first that differs, or the last."""
    return int(min(max(verdict.parting, 0), max(len(verdict.workload.ops) - 1, 0)))


def how_to_go_on(folder: Path) -> list[str]:
    """What to do with a recording, for whoever has just made one."""
    if not (folder / "replay.bin").is_file():
        return [f"nothing was recorded in {folder}"]
    size = sum((folder / name).stat().st_blocks for name in FILES if (folder / name).is_file())
    backwards = read_recording(folder).backwards
    return [
        f"the run is recorded in {folder} ({size * 512 >> 20} MiB)",
        f"  ext4diff shell --rr {folder} --gdb   debugs it{', backwards too' * backwards}",
        f"  ext4diff shell --rr {folder}         replays it to its end, and compares",
        *([] if backwards else forwards_only()),
    ]


def forwards_only() -> list[str]:
    """What to do instead of going backwards, where that does not come back."""
    return [
        "going backwards (reverse-stepi, reverse-continue) does not come back on a kernel that"
        " loads modules; Ctrl-C in gdb ends the attempt. What does the same: each replay has the"
        " same addresses, so put a watchpoint on what is wrong, forwards, in a second one; or"
        " record on a kernel with all built in: ext4diff replay ARTIFACT --rr DIR --kernel SPEC,"
        " SPEC as `ext4diff kernel build` takes it (docs/debugging.md)"
    ]
