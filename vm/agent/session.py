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
from .observe import file_names, listed
from .parallel import run_section
from .reading import read_contents
from .settle import Settler
from .setup import load_modules
from .tracing import TRACING, Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .injection import Injector
    from .quota import QuotaWarnings

    Row = dict[str, Any]

__all__ = ["Instruments", "Steps", "begin", "run_workload"]

ROOT = "/mnt"
MARK = f"{TRACING}/trace_marker"


class Instruments:
    """What watches the kernel beside the observations of the file system, and what makes
    something in it fail, if anything."""

    def __init__(self, tracer: Tracer, log: KernelLog, settler: Settler) -> None:
        self.tracer = tracer
        self.log = log
        self.settler = settler
        self.injector: Injector | None = None


def run_workload(
    request: Row,
    tell: Callable[[Row], None],
    instruments: Instruments,
    quota: QuotaWarnings | None = None,
) -> None:
    """Run `request` (`device`, `mount`, `ops`, groups of `modules`) and `tell` what happens.
    With `observe` `end` nobody looks at the file system before the last operation is done, and
    files are read once, after the last mount.

    `quota` collects quota warnings. Raises `MountError` if a mount or umount of our own
    fails.
    """
    mounted, steps = begin(request, tell, instruments)
    each = request.get("observe") != "end"
    while not steps.over:
        tell(steps.next(look=each or steps.last))
    warnings = quota.drain() if quota is not None else None
    final, seen = _final(
        mounted, tell, instruments.settler, shut_down=steps.context.shut_down, twice=each
    )
    tell({"final": final, **seen, "warnings": warnings, "log": instruments.log.read()})


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
    tell({"start": True, **mounted.observe(), "log": instruments.log.read()})
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
        self._before: list[tuple[int, str]] | None = None
        self._watch()

    @property
    def over(self) -> bool:
        """Whether no operation is left."""
        return self.done == len(self._ops)

    @property
    def last(self) -> bool:
        """Whether one operation is left."""
        return self.done == len(self._ops) - 1

    @property
    def upcoming(self) -> str:
        """The kind of the next operation."""
        return str(self._ops[self.done]["op"])

    def leave_out(self) -> None:
        """Leave what others did to the file system until now out of the next step."""
        self._look()
        self._instruments.log.skip()

    def _look(self) -> None:
        """Note what has a name now, which the host does not know, and watch."""
        self._before = listed(self._mounted.root)
        self._watch()

    def _watch(self) -> None:
        self._instruments.tracer.drain()
        self._instruments.tracer.resume()
        self._looked = True

    def next(self, look: bool = True) -> Row:
        """Execute the next operation, and say what it returned and, if it is to `look`, what is
        then seen.

        Without looking it settles all the same: what the operation has left to the kernel's
        threads is done before the next one, or its result would be left to chance.
        """
        if look and not self._looked:
            self._look()
        step = self._executed()
        self._instruments.settler.settle()
        said = self._instruments.log.read()
        if said:
            step["log"] = said
        if look:
            self._seen(step)
        if self._looked and not look:
            self._instruments.tracer.pause()
        self._looked = look
        self.done += 1
        return step

    def _executed(self) -> Row:
        op = self._ops[self.done]
        if self._mark is not None:
            os.write(self._mark, f"step {self.done + 1}".encode())
        if op["op"] == "parallel":
            result, threads = run_section(self.context, op, execute)
            return {"step": self.done, "result": result, "threads": threads}
        injector = self._instruments.injector
        if injector is None:
            return {"step": self.done, "result": execute(self.context, op)}
        result, failed = injector.execute(lambda: execute(self.context, op))
        return {"step": self.done, "result": result, "failed": failed}

    def _seen(self, step: Row) -> None:
        """Add what is seen after the operation to `step`: the `trace`'s bytes come first in `raw`.

        Its events have inode numbers. Names for them are those before the step and after it,
        which the host knows from what was seen, unless they are told.
        """
        trace = self._instruments.tracer.drain()
        seen = self._mounted.observe(self.context.shut_down)
        if self._before is not None:
            step["before"] = self._before
            self._before = None
        if "raw" not in seen:
            seen["names"] = listed(self._mounted.root)
        step.update(seen)
        step["trace"] = len(trace)
        step["raw"] = [trace, *seen.get("raw", ())]


def _final(
    mounted: Mounted,
    tell: Callable[[Row], None],
    settler: Settler,
    *,
    shut_down: bool,
    twice: bool,
) -> tuple[Row, Row]:
    """The end, and what is seen then; files are read after the last mount, and, if `twice`, after
    drop_caches.

    sync(2) wakes the flusher thread, which has pages of its own to clean (those past EOF), and
    does not wait for it: what is dropped would be left to chance.
    """
    final: Row = {"trouble": [], "dropped": None}
    tell({"phase": "sync"})
    os.sync()
    settler.settle()
    if twice:
        drop_caches()
        tell({"phase": "read after drop_caches"})
        if not shut_down:  # else nothing can be read before the next mount
            final["dropped"] = _contents("dropped", mounted.root, tell, final)
    tell({"phase": "umount"})
    mounted.umount()
    tell({"phase": "mount"})
    mounted.mount()
    tell({"phase": "read after mount"})
    seen = mounted.observe()
    final["content"] = _contents("content", mounted.root, tell, final)
    tell({"phase": "last umount"})
    mounted.umount()
    return final, seen


def _contents(field: str, root: str, tell: Callable[[Row], None], final: Row) -> Row | None:
    """Read all files, and tell what is not zero in them as `field` of what is told at the end."""

    def told(runs: list[tuple[str, int, int]], data: Sequence[memoryview]) -> None:
        tell({"data": field, "runs": runs, "raw": data})

    try:
        return read_contents(root, file_names(root), told)
    except OSError as error:
        final["trouble"].append(f"reading the files ({field}): {errno_name(error)}")
        return None
