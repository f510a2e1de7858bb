"""Running a workload: dispatch of its operations, and the observation after each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from harness.errors import NotModelledError
from harness.trace import Content, Final, Observation, Placement, Ran, Result, Step, Trace
from model.access import check_access
from model.after_shutdown import not_predicted
from model.behaviour import Behaviour
from model.errors import OpError, TreesCount
from model.eviction import drop_caches
from model.first_table import HANDLERS as FIRST_TABLE
from model.image.filesystem import Filesystem
from model.image_load import load_image
from model.mount import Mount
from model.observe import content_of, observe
from model.parallel import run_section
from model.placement import Placer
from model.second_table import HANDLERS as SECOND_TABLE
from model.shutdown import Durable
from workloads import ops
from workloads.images import Geometry, Image
from workloads.workload import Workload

__all__ = ["Model"]


class Model:
    """The executable specification as a subject (harness.trace.Subject).

    `geometry` tells what an image's superblock says at the start; `start` opens the image
    that a workload begins with if it is one with files (`Image.sha256`).
    """

    name = "model"

    def __init__(
        self,
        behaviour: Behaviour,
        geometry: Callable[[Image], Geometry],
        start: Callable[[Image], Filesystem] | None = None,
    ) -> None:
        self.behaviour, self.geometry, self.start = behaviour, geometry, start

    def run(
        self, workload: Workload, placement: Placement | None = None, *, observed: bool = True
    ) -> Trace:
        """Predict what `workload` shows; raises `NotModelledError` for what is not covered.

        Without `placement` the number of extent tree blocks stays unknown. Without
        `observed` the trace holds results and the contents at the end only, these as a whole
        (`sha256`) and not by `blocks`; what else could be seen is left empty. Neither extent
        trees nor the pieces of allocations are then followed as long as space is so plentiful
        that they can't matter.
        """
        if not observed and can_leave_out_trees(workload):
            try:
                return self._trace(workload, None, observed=False, without_trees=True)
            except TreesCount:
                pass
        return self._trace(workload, placement, observed=observed)

    def _trace(
        self, workload: Workload, placement: Placement | None, *,
        observed: bool, without_trees: bool = False,
    ) -> Trace:  # fmt: skip
        """The trace alone; the files go at once, as a mount refers to itself and would keep
        them until the garbage collector comes."""
        trace, mount = self.play(
            workload, placement, observed=observed, without_trees=without_trees
        )
        mount.files.clear()
        return trace

    def finish(self, workload: Workload, placement: Placement | None = None) -> Mount:
        """The file system that `workload` leaves, mounted once more as at the end of `run`."""
        return self.play(workload, placement)[1]

    def play(
        self, workload: Workload, placement: Placement | None = None, *,
        observed: bool = True, without_trees: bool = False,
    ) -> tuple[Trace, Mount]:  # fmt: skip
        """What `run` and `finish` return, of one run. `without_trees` (and without
        `placement`) it raises `TreesCount` where a result may depend on them."""
        config = workload.config
        kinds = check_covered(workload)
        geometry = self.geometry(config.image)
        placer = Placer(placement, geometry.block_size)
        behaviour = self.behaviour
        if workload.cpus > behaviour.nr_cpu:
            behaviour = msgspec.structs.replace(behaviour, nr_cpu=workload.cpus)
        mount = Mount(config, geometry, behaviour, placer)
        mount.sb.traced, mount.sb.without_trees = observed, without_trees
        if config.image.sha256:
            self._load(mount, config.image)
        if ops.Shutdown in kinds:
            mount.durable, mount.sb.crashes = Durable(mount), True
            mount.durable.commit()
        start = observe(mount.sb, mount.files)[0]
        steps = []
        for index, op in enumerate(workload.ops):
            placer.begin(index)
            steps.append(_step(mount, op, observed))
        placer.begin(len(workload.ops))
        mount.sb.because = {}
        final = _final(mount, observed)
        if steps and mount.sb.quirks:  # the end has no step of its own to tell it
            steps[-1] = msgspec.structs.replace(
                steps[-1], quirks=tuple(dict.fromkeys((*steps[-1].quirks, *mount.sb.quirks)))
            )
        return Trace(workload, self.name, start, tuple(steps), final), mount

    def _load(self, mount: Mount, image: Image) -> None:
        """Give `mount` the files that `image` has."""
        if self.start is None:
            raise NotModelledError(f"the image {image.name} is in a file that is not at hand")
        with self.start(image) as fs:
            load_image(mount, fs)
        mount.sb.end_transaction()  # which is not that of the program


def check_covered(workload: Workload) -> set[type[ops.Op]]:
    """The kinds of calls in `workload`. Raises `NotModelledError` for a configuration or an
    operation that the model lacks."""
    config = workload.config
    if config.image.name in UNCOVERED_IMAGES:
        raise NotModelledError(f"the image {config.image.name} is not modelled")
    options = config.options - COVERED_OPTIONS
    if options:
        raise NotModelledError(f"mount options are not modelled: {', '.join(sorted(options))}")
    kinds: set[type[ops.Op]] = set(map(type, ops.calls(workload.ops)))
    for kind in kinds - HANDLERS.keys():
        raise NotModelledError(f"the operation {kind.WORD} is not modelled")
    return kinds


def can_leave_out_trees(workload: Workload) -> bool:
    """Whether nothing in `workload` but little space makes a result depend on where blocks are:
    not what is charged to users or lost in a shutdown, no block that is written twice, and no
    file with a tree from the start."""
    image = workload.config.image
    if image.sha256 or not image.features.isdisjoint({"quota", "inline_data"}):
        return False
    return {ops.Shutdown, ops.Parallel}.isdisjoint(map(type, workload.ops))


def _step(mount: Mount, op: ops.AnyOp, observed: bool) -> Step:
    sb = mount.sb
    sb.events, sb.because, sb.quirks = [], {}, {}
    sb.let_go()
    sb.flusher_busy = False
    threads: tuple[tuple[Ran, ...], ...] = ()
    overlapping: dict[str, str] = {}
    result: Result = 0
    try:
        if isinstance(op, ops.Parallel):
            threads, overlapping = run_section(mount, op, _call)
        else:
            result = _call(mount, op)
    except OpError as error:
        result = error.name
    sb.end_io()
    if sb.pieces_unknown is not None:
        overlapping = {**overlapping, "events": sb.pieces_unknown}
    if sb.pieces_hidden is not None:
        overlapping = {**overlapping, "pieces": sb.pieces_hidden}
    sb.pieces_unknown = sb.pieces_hidden = None
    observation, unpredicted = observe(sb, mount.files) if observed else (UNSEEN, {})
    if sb.shut_down and mount.directory.shows(mount.files.keys()):
        observation, unpredicted = Observation(error="EIO"), {}  # it opens one of them, which fails
    elif sb.shut_down:
        observation = msgspec.structs.replace(observation, files={})
    if (undefined := UNDEFINED.get(type(op))) and (reason := undefined(mount, op)):
        unpredicted = {**unpredicted, "result": reason}
    events = tuple(sb.events) if observed and "events" not in overlapping else None
    return Step(
        result, events, observation, tuple(sb.because), tuple(sb.quirks),
        {**unpredicted, **overlapping}, threads,
    )  # fmt: skip


def _call(mount: Mount, call: ops.Call) -> Result:
    """Carry out one system call. Raises `OpError`."""
    check_access(mount, call)
    return HANDLERS[type(call)](mount, call)


def _undefined_read(mount: Mount, op: ops.Read) -> str:
    inode = mount.files.get(op.file)
    if inode is None or mount.sb.shut_down:
        return ""
    known = inode.content.knows(op.off, min(op.off + op.len, inode.size))
    return "" if known else "what was read is undefined in part"


def _undefined_seek(mount: Mount, op: ops.Seek) -> str:
    inode = mount.files.get(op.file)
    return "" if inode is None else inode.states_unknown or ""


def _final(mount: Mount, observed: bool) -> Final:
    warnings, dropped = mount.sb.quota.warnings.seen(), None
    if not mount.sb.shut_down:
        mount.sync()
        drop_caches(mount)
    if observed and not mount.sb.shut_down:
        dropped = _contents(mount, observed=True)
    mount.remount()
    mount.sb.events = []
    observation, unpredicted = observe(mount.sb, mount.files) if observed else (UNSEEN, {})
    if reason := mount.sb.quota.warnings.unknown:
        unpredicted = {**unpredicted, "warnings": reason}
    return Final(
        observation,
        warnings=warnings,
        dropped=dropped,
        content=_contents(mount, observed=observed),
        disk_blocks={name: seen.disk_blocks for name, seen in observation.files.items()
                     if seen.disk_blocks is not None},
        unpredicted=unpredicted,
        because=tuple(mount.sb.because),
    )  # fmt: skip


def _contents(mount: Mount, *, observed: bool) -> dict[str, Content] | None:
    """What is in each file; nothing if one can't be opened."""
    if any(inode.unreadable for inode in mount.files.values()):
        return None
    return {name: content_of(inode, observed) for name, inode in mount.files.items()}


UNSEEN = Observation()
UNCOVERED_IMAGES: frozenset[str] = frozenset()
COVERED_OPTIONS = frozenset(
    {
        "delalloc", "nodelalloc", "dioread_lock", "dioread_nolock", "buffered_iomap",
        "nobuffered_iomap", "data=ordered", "data=writeback", "data=journal", "usrquota",
        "auto_da_alloc", "noauto_da_alloc",
    }
)  # fmt: skip

HANDLERS: dict[type[Any], Callable[[Mount, Any], Result]] = {**FIRST_TABLE, **SECOND_TABLE}
"""What carries out each operation."""
UNDEFINED: dict[type[Any], Callable[[Mount, Any], str]] = {
    ops.Read: _undefined_read,
    ops.Seek: _undefined_seek,
    ops.SyncRange: not_predicted,
}
"""Why nobody can know what an operation returned, empty if it is known."""
