"""One workload from mount to last umount, told step by step.

Every line goes out as soon as it is known, so that the host knows where the kernel was
when it died: `start`, then one `step` each, `phase` before each part of the end, `final`.
"""

from __future__ import annotations

import os

from .context import Context, errno_name
from .execute import execute
from .kernel_log import KernelLog
from .mounted import Mounted
from .observe import contents, names_by_inode
from .parallel import run_section
from .settle import Settler
from .setup import load_modules
from .tracing import Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .quota import QuotaWarnings

    Row = dict[str, Any]

__all__ = ["Instruments", "run_workload"]

ROOT = "/mnt"


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
    instruments.log.skip()
    for group in request.get("modules", ()):
        load_modules(group)
    mounted = Mounted(request["device"], ROOT, request["mount"])
    mounted.mount()
    tell({"start": mounted.observe(), "log": instruments.log.read()})
    context = Context(mounted.files, mounted.device, mounted.remount)
    _run_steps(request["ops"], context, mounted, tell, instruments)
    warnings = quota.drain() if quota is not None else None
    final = _final(mounted, tell, context.shut_down)
    tell({"final": final, "warnings": warnings, "log": instruments.log.read()})


def _run_steps(
    ops: list[Row],
    context: Context,
    mounted: Mounted,
    tell: Callable[[Row], None],
    instruments: Instruments,
) -> None:
    before = names_by_inode(mounted.root)
    instruments.tracer.drain()
    for index, op in enumerate(ops):
        threads: list[Row] = []
        if op["op"] == "parallel":
            result, threads = run_section(context, op, execute)
        else:
            result = execute(context, op)
        instruments.settler.settle()
        events, lost = instruments.tracer.drain()
        after = names_by_inode(mounted.root)
        for event in events:
            ino = int(event.pop("ino") or 0)
            # An inode that the step removed has only its old name; a new one only the new.
            event["file"] = before.get(ino) or after.get(ino) or f"ino {ino}"
        step: Row = {"step": index, "result": result, "events": events}
        if threads:
            step["threads"] = threads
        if lost:
            step["lost"] = lost
        said = instruments.log.read()
        if said:
            step["log"] = said
        step["observation"] = mounted.observe(context.shut_down)
        before = after
        tell(step)


def _final(mounted: Mounted, tell: Callable[[Row], None], shut_down: bool) -> Row:
    final: Row = {"trouble": []}
    tell({"phase": "sync"})
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
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
