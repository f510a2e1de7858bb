"""The guest: a real kernel in QEMU as a subject, for many workloads a boot."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.trace import Complaint, Observe, Placement, Trace
from vm import mkfs
from vm.channel import Row
from vm.errors import (
    ChannelError,
    FileSystemToolError,
    KernelError,
    KernelPanicError,
    ListenerError,
    MountLostError,
    MountRefusedError,
)
from vm.identity import facts_of
from vm.live_guest import LiveGuest
from vm.log.lines import read_lines
from vm.tracepoints import Tracepoints
from vm.transcript import Transcript
from workloads.images import Image
from workloads.ops import QuotaSet
from workloads.workload import Config, Workload

__all__ = ["Executed", "Guest", "request_of"]


class Executed(msgspec.Struct, frozen=True):
    """How a program in the guest ended.

    `status` is its exit status, negative for a signal, None if its time was over; `cut`
    tells that the end of a long `output` (stdout and stderr) is missing.
    """

    status: int | None
    output: str
    cut: bool


_NO_TIMER = "commit=3600"
"""Seconds between commits of the journal's own; first, so that a workload's option counts."""


def _uses_quota(config: Config) -> bool:
    return "quota" in config.image.features or "quota" in config.mount


def _mount_options(config: Config) -> str:
    """Those of `config`; a journal commits when it is asked to, not by its own clock (every 5 s),
    on which it would depend, on a busy host, which freed blocks can be had."""
    if "^has_journal" in config.image.features:
        return config.mount  # ext4 refuses a commit interval without a journal
    return ",".join(filter(None, (_NO_TIMER, config.mount)))


def request_of(workload: Workload) -> Row:
    """What the agent has to know of `workload`."""
    return {
        "device": "/dev/vda",
        "mount": _mount_options(workload.config),
        "ops": msgspec.to_builtins(workload.ops),
        "modules": ["quota"] if _uses_quota(workload.config) else [],
    }


class Guest(LiveGuest):
    """A guest at work: it runs workloads and programs.

    After an error of `run` other than `MountRefusedError` the guest is `dead`: close it
    and start another.
    """

    judging = 0.0
    """Seconds that e2fsck and debugfs took on its disk."""
    _tracepoints: Tracepoints | None = None

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,  # noqa: ARG002
        *,
        observe: Observe = Observe.STEPS,
    ) -> Trace:
        """Run `workload` on a fresh copy of its image and say what was seen.

        Raises `KernelPanicError`, `KernelHangError` or `MountLostError` for findings about
        the kernel, with the trace so far; `MountRefusedError` if it knows no such mount;
        other `MachineryError`s if the guest is broken. `placement` is not used.
        """
        warnings = any(isinstance(op, QuotaSet) for op in workload.ops)
        failed = self.listen() if warnings else None
        if failed is not None:
            raise failed
        self.reset_disk(mkfs.image_file(workload.config.image))
        transcript = self.transcript_of(workload, observe)
        begin = self.link.console.size
        asked = {"cmd": "run", **request_of(workload), "observe": observe, "warnings": warnings}
        number, until = self._send(asked), time.monotonic() + self.program_time
        try:
            while not transcript.complete:
                self._next(number, transcript, until)
        except MountRefusedError:
            raise
        except KernelPanicError as error:
            self.dead = True
            message = str(error)
            if transcript.place not in message:
                message = f"in {transcript.place}: {message}"
            said = transcript.complaints_until(self.link.console.text_from(begin))
            located = self._located(said)
            raise type(error)(message, transcript.trace(), error.report, located) from error
        except BaseException:
            self.dead = True
            raise
        return self._judged_by_others(transcript)

    def transcript_of(self, workload: Workload, observe: Observe = Observe.STEPS) -> Transcript:
        """What collects the agent's answers about `workload`. Raises `KernelError` if the kernel's
        tracepoints are others than those that are known."""
        if self._tracepoints is None:
            try:
                self._tracepoints = Tracepoints(self.hello["tracepoints"])
            except ValueError as error:
                raise KernelError(f"{self.name} has other tracepoints: {error}") from error
        known = self._tracepoints, self.name, self.release, facts_of(self.kernel)
        return Transcript(workload, *known, observe=observe)

    def listen(self, *, ahead: bool = False) -> ListenerError | None:
        """Have quota warnings collected from now on; why they are not, after which the guest can
        go on with other workloads. A listener that runs already is kept.

        `ahead` of any workload, a kernel without quota gets no listener.
        """
        seconds = self.deadlines.step
        request: Row = {"cmd": "listen", "seconds": seconds, "ahead": ahead}
        what = "starting the listener for quota warnings"
        done = self.ask(request, seconds + self.deadlines.step, what)["done"]
        return ListenerError(done["failed"], done["late"]) if "failed" in done else None

    def _next(self, number: int, transcript: Transcript, until: float) -> None:
        """Take the next answer. The whole workload has time `until` then."""
        in_end = transcript.place.endswith("(after the last operation)")
        seconds = self.deadlines.end if in_end else self.deadlines.step
        left = until - time.monotonic()
        over = f"its {self.program_time:g} s are over (--program-time)" if left < seconds else ""
        row = self.link.wait(number, min(seconds, max(left, 0.0)), transcript.place, over)
        if "error" not in row:
            transcript.take(row)
            return
        said = (line.text for line in read_lines(row.get("log", [])))
        log = "; ".join(line for line in said if "vda" in line)
        message = f"{row['error']}" + (f": {log}" if log else "")
        if transcript.trace() is None:
            config = transcript.workload.config
            raise MountRefusedError(f"the kernel does not mount {config.name}: {message}")
        raise MountLostError(message)

    def _judged_by_others(self, transcript: Transcript) -> Trace:
        """Add what e2fsck and debugfs say about the image that the kernel left; debugfs is not
        asked where only the end is observed (`vm.transcript.UNSEEN_AT_END`)."""
        trace = transcript.trace()
        assert trace is not None and transcript.final is not None
        path, began = Path(self.disk.path), time.monotonic()
        names = sorted(transcript.final.observation.files)
        fsck, blocks = mkfs.fsck(path), None
        try:
            if transcript.observe is Observe.STEPS:
                blocks = mkfs.disk_blocks(path, names)
        except FileSystemToolError:
            if not fsck:  # else it is e2fsck's finding that debugfs cannot read the image
                raise
        self.judging += time.monotonic() - began
        said = self._located(transcript.final.log or ())
        final = msgspec.structs.replace(transcript.final, fsck=fsck, disk_blocks=blocks, log=said)
        return msgspec.structs.replace(trace, final=final)

    def execute(
        self,
        argv: Sequence[str],
        seconds: float,
        *,
        image: Image | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Executed:
        """Run a program in the guest, as root in /tmp, for `seconds` at most.

        `files` are put there first, as executables. With an `image`, `/dev/vda` holds a
        fresh copy of it, which the program may mount; it must unmount it again. Raises
        `MachineryError`s as `run` does.
        """
        if image is not None:
            self.reset_disk(mkfs.image_file(image))
        sent = {name: base64.b64encode(data).decode() for name, data in (files or {}).items()}
        request = {"cmd": "exec", "argv": list(argv), "files": sent, "seconds": seconds}
        row = self.ask(request, seconds + self.deadlines.step, f"running {argv[0]}")
        if "error" in row:
            raise ChannelError(f"{argv[0]} does not run in the guest: {row['error']}")
        return msgspec.convert(row["done"], Executed)

    def _located(self, said: tuple[Complaint, ...]) -> tuple[Complaint, ...]:
        """The complaints with source lines, where the kernel's symbols tell them."""
        return self.symbols.locate(said) if said and self.symbols is not None else said
