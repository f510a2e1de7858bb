"""One workload from mount to last umount, told step by step.

Every line goes out as soon as it is known, so that the host knows where the kernel was
when it died: `start`, then one `step` each, `phase` before each part of the end, `final`.
"""

from __future__ import annotations

import os

from .context import Context, errno_name
from .execute import drop_caches, execute
from .kernel_log import KernelLog
from .mounted import Mounted
from .observe import contents, names_by_inode
from .parallel import run_section
from .settle import Settler
from .setup import load_modules
from .tracing import TRACING, Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .quota import QuotaWarnings

    Row = dict[str, Any]

__all__ = ["Instruments", "Steps", "begin", "run_workload"]

ROOT = "/mnt"
MARK = f"{TRACING}/trace_marker"


class Instruments:
    """What watches the kernel beside the observations of the file system."""

    def __init__(self, tracer: Tracer, log: KernelLog, settler: Settler) -> None:
        self.tracer = tracer
        self.log = log
        self.settler = settler


def run_workload(
    request: Row,
    tell: Callable[[Row], None],
    instruments: Instruments,
    quota: QuotaWarnings | None = None,
) -> None:
    """Run `request` (`device`, `mount`, `ops`, groups of `modules`) and `tell` what happens.

    `quota` collects quota warnings. Raises `MountError` if a mount or umount of our own
    fails.
    """
    mounted, steps = begin(request, tell, instruments)
    while not steps.over:
        tell(steps.next())
    warnings = quota.drain() if quota is not None else None
    final = _final(mounted, tell, steps.context.shut_down)
    tell({"final": final, "warnings": warnings, "log": instruments.log.read()})


def begin(
    request: Row, tell: Callable[[Row], None], instruments: Instruments
) -> tuple[Mounted, Steps]:
    """Mount what `request` asks for and `tell` what is seen before the first operation.

    Raises `MountError`.
    """
    instruments.log.skip()
    for group in request.get("modules", ()):
        load_modules(group)
    mounted = Mounted(request["device"], ROOT, request["mount"])
    mounted.mount()
    tell({"start": mounted.observe(), "log": instruments.log.read()})
    return mounted, Steps(request["ops"], mounted, instruments, request.get("mark", False))


class Steps:
    """The operations of a workload on a mounted file system, executed one by one.

    `context` has the open files, which stay open between the steps. With `mark`, each begins
    with a write to the trace, so that a debugger can stop there.
    """

    def __init__(
        self, ops: list[Row], mounted: Mounted, instruments: Instruments, mark: bool = False
    ) -> None:
        self._ops = ops
        self._mounted = mounted
        self._instruments = instruments
        self.context = Context(mounted.files, mounted.device, mounted.remount)
        self.done = 0
        self._mark = os.open(MARK, os.O_WRONLY | os.O_CLOEXEC) if mark else None
        self._look()

    @property
    def over(self) -> bool:
        """Whether no operation is left."""
        return self.done == len(self._ops)

    @property
    def upcoming(self) -> str:
        """The kind of the next operation."""
        return str(self._ops[self.done]["op"])

    def leave_out(self) -> None:
        """Leave what others did to the file system until now out of the next step."""
        self._look()
        self._instruments.log.skip()

    def _look(self) -> None:
        self._before = names_by_inode(self._mounted.root)
        self._instruments.tracer.drain()

    def next(self) -> Row:
        """Execute the next operation, and say what it returned and what is then seen."""
        watch, op = self._instruments, self._ops[self.done]
        threads: list[Row] = []
        if self._mark is not None:
            os.write(self._mark, f"step {self.done + 1}".encode())
        if op["op"] == "parallel":
            result, threads = run_section(self.context, op, execute)
        else:
            result = execute(self.context, op)
        watch.settler.settle()
        events, lost = watch.tracer.drain()
        after = names_by_inode(self._mounted.root)
        for event in events:
            ino = int(event.pop("ino") or 0)
            # An inode that the step removed has only its old name; a new one only the new.
            event["file"] = self._before.get(ino) or after.get(ino) or f"ino {ino}"
        step: Row = {"step": self.done, "result": result, "events": events}
        if threads:
            step["threads"] = threads
        if lost:
            step["lost"] = lost
        said = watch.log.read()
        if said:
            step["log"] = said
        step["observation"] = self._mounted.observe(self.context.shut_down)
        self._before = after
        self.done += 1
        return step


def _final(mounted: Mounted, tell: Callable[[Row], None], shut_down: bool) -> Row:
    final: Row = {"trouble": []}
    tell({"phase": "sync"})
    os.sync()
    drop_caches()
    tell({"phase": "read after drop_caches"})
    final["dropped"] = None
    if not shut_down:  # else nothing can be read before the next mount
        final["dropped"] = _contents(mounted.root, "after drop_caches", final)
    tell({"phase": "umount"})
    mounted.umount()
    tell({"phase": "mount"})
    mounted.mount()
    tell({"phase": "read after mount"})
    final["observation"] = mounted.observe()
    final["content"] = _contents(mounted.root, "after mount", final)
    tell({"phase": "last umount"})
    mounted.umount()
    return final


def _contents(root: str, when: str, final: Row) -> Row | None:
    try:
        return contents(root)
    except OSError as error:
        final["trouble"].append(f"reading the files {when}: {errno_name(error)}")
        return None
