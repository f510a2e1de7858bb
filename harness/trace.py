"""Traces: what a subject saw while a workload ran. All subjects fill the same types.

A field that a subject cannot see is `None`; it is then not compared, and reports count
it. The types are serialisable (`encode`, `decode`) and carry `VERSION`.

Units: bytes for offsets, lengths and sizes; 512-byte sectors for `blocks` and
`disk_blocks`; file system blocks for `delalloc`, `bfree` and `bavail`; clusters for
`reserved` and for the events' counts (clusters are blocks without bigalloc).
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from harness.complaint import Complaint, ComplaintKind
from harness.extent import Extent, State
from harness.image.form import Canonical
from workloads.workload import Workload

__all__ = [
    "AGAIN", "APART", "LATE", "ONLY_THE_END", "PIECEMEAL", "SHORT", "TURNS", "VERSION", "Complaint",
    "ComplaintKind", "Content", "Event", "EventKind", "Extent", "FileObservation", "Final",
    "KernelFacts", "Observation", "Observe", "Placement", "Ran", "Reference", "Result", "State",
    "Step", "Subject", "Trace",
    "decode", "encode", "placement_of", "unobserved_step",
]  # fmt: skip

VERSION = 2
"""1 had the lines of the kernel's log in place of `Complaint`s; `decode` still takes it."""


class Observe(enum.StrEnum):
    """When a subject looks at the file system, beside the start and the end."""

    STEPS = "steps"
    """After every operation."""
    END = "end"
    """After the last operation only; of the others nothing but the result is known."""


Result = int | str | list[list[int]]
"""What an operation returned: a count, an errno's name (`ENOSPC`), an md5, `SKIP`, ranges."""


class FileObservation(msgspec.Struct, frozen=True):
    """What can be seen of one file between two operations.

    `blocks` is st_blocks (on-disk sectors plus reserved ones); `disk_blocks` the raw
    i_blocks and `disksize` the raw i_size of the inode as ext4 last wrote it to the
    inode table's buffer; `reserved` is i_reserved_data_blocks in clusters. `extents`
    comes from FIEMAP without FIEMAP_FLAG_SYNC; `extents_error` is the errno's name if the
    ioctl failed. Where the model cannot know the number of tree blocks it leaves `blocks`
    and `disk_blocks` None, and says with `blocks_range` and `disk_blocks_range` between
    which numbers (both included) they are.
    """

    size: int | None = None
    blocks: int | None = None
    disk_blocks: int | None = None
    disksize: int | None = None
    reserved: int | None = None
    extents: tuple[Extent, ...] | None = None
    extents_error: str | None = None
    blocks_range: tuple[int, int] | None = None
    disk_blocks_range: tuple[int, int] | None = None


class Observation(msgspec.Struct, frozen=True):
    """What can be seen of the file system between two operations.

    `error` is an errno's name if observing failed as a whole (after a shutdown).
    """

    files: dict[str, FileObservation] = {}
    delalloc: int | None = None
    bfree: int | None = None
    bavail: int | None = None
    error: str | None = None


class EventKind(enum.StrEnum):
    """The reservation tracepoints, without their `ext4_da_` and `_space`."""

    RESERVE = "reserve"
    RELEASE = "release"
    UPDATE = "update_reserve"


class Event(msgspec.Struct, frozen=True):
    """One reservation tracepoint.

    `count` is reserve_blocks, freed_blocks or used_blocks (clusters); `reserved` is the
    inode's reserved_data_blocks as printed: after a reserve, before a release or update.
    `file` is the file's name, or `ino N` if the name is unknown. `claim` is quota_claim.
    """

    kind: EventKind
    file: str
    count: int
    reserved: int
    claim: bool | None = None


class Ran(msgspec.Struct, frozen=True):
    """A call of a parallel section: its result, and nanoseconds from the first call's begin
    to its begin and end, where the subject has a clock."""

    result: Result
    began: int | None = None
    ended: int | None = None


class Step(msgspec.Struct, frozen=True):
    """One operation's outcome.

    `because` names the model's rules that the step exercised, with the kernel function;
    `quirks` the known kernel bugs that the model followed in it. `unpredicted` maps a
    field (`blocks`, `extents`, `events`, ...) to the reason why the subject leaves it
    None in this step, for reports. `threads` holds what the calls of a parallel section
    came to, by thread; its own result is 0.
    """

    result: Result
    events: tuple[Event, ...] | None
    observation: Observation
    because: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    unpredicted: dict[str, str] = {}
    threads: tuple[tuple[Ran, ...], ...] = ()

    @property
    def observed(self) -> bool:
        """Whether the subject looked at the file system after it (see `Observe`)."""
        return "observation" not in self.unpredicted


ONLY_THE_END = "only the end was observed"
"""Why a subject with `Observe.END` leaves something None."""


def unobserved_step(result: Result, threads: tuple[tuple[Ran, ...], ...] = ()) -> Step:
    """A step of which nothing but the result is known, because nobody looked."""
    reasons = dict.fromkeys(("observation", "events"), ONLY_THE_END)
    return Step(result, None, Observation(), unpredicted=reasons, threads=threads)


class Content(msgspec.Struct, frozen=True):
    """Content of a file.

    `sha256` is of the whole content. `blocks` gives the crc32 of each 4096-byte piece
    that is not all zero, by its index, so that a difference can be located; either is
    None where the subject does not have it. `undefined` lists byte ranges
    `(start, length)` that the model cannot know; with any, sha256 is None.
    """

    size: int
    sha256: str | None = None
    blocks: dict[int, int] | None = None
    undefined: tuple[tuple[int, int], ...] = ()


class Final(msgspec.Struct, frozen=True):
    """What is left when the workload is over.

    `dropped` is the content after sync and drop_caches, `content` after umount and mount,
    both by file; `observation` was taken after that mount. `disk_blocks` is each file's
    i_blocks (sectors) read from the image by another program than the kernel. `fsck` is
    what `e2fsck -fn` complained of, empty if nothing; `image` what our own check of the
    image found (`harness.image.check`). `log` holds the kernel's own complaints (WARN,
    ext4_warning, ext4_error, lockdep). `warnings` are the quota warnings that the workload
    brought about, in order. `form` is what the image holds, in canonical form.

    `unpredicted` gives the reason for a field that the subject leaves None, as in `Step`;
    `image form` is that of `form`. A key `PATH.image FIELD` (`/a.image blocks`; for the
    whole file system `image FIELD`) says that this field of the form is no prediction. `because`
    names the rules that it applied, as in `Step`.
    """

    observation: Observation
    dropped: dict[str, Content] | None = None
    content: dict[str, Content] | None = None
    disk_blocks: dict[str, int] | None = None
    fsck: str | None = None
    image: tuple[str, ...] | None = None
    log: tuple[Complaint, ...] | None = None
    warnings: tuple[str, ...] | None = None
    form: Canonical | None = None
    unpredicted: dict[str, str] = {}
    because: tuple[str, ...] = ()


KernelFacts = dict[str, str | tuple[str, ...]]
"""What is known of a kernel, by name: `build_id`, `config_sha256`, `source`, `series`, ..."""


class Trace(msgspec.Struct, frozen=True):
    """What one subject saw of one workload. `subject` names it, `kernel` its release.

    `identity` says what else is known of the kernel, so that a trace can be led back to it.
    """

    workload: Workload
    subject: str
    start: Observation
    steps: tuple[Step, ...]
    final: Final | None
    kernel: str | None = None
    version: int = VERSION
    identity: KernelFacts = {}


Placement = tuple[dict[str, tuple[Extent, ...]] | None, ...]
"""Extents with physical numbers, by step and file: where a real kernel put the blocks. None
for a step after which nobody looked.

The only thing that flows from one subject to another: the model needs it to predict the
extent tree (physically adjacent extents merge), and reads nothing else from it than the
physical numbers of blocks that it has itself decided to allocate. The last entry, one
past the steps, is the final observation's.
"""

APART = "/"
"""In a step's placement, in the place of a file's name: blocks that nobody saw, since they were
freed in the same step, are supposed to lie apart from all others, not behind the block before
them (`harness.running.suppositions`)."""

SHORT = "///"
"""The same, and that the first of them were allocated one by one: the device had no more in one
place (`harness.running.suppositions`)."""

LATE = "//"
"""The same for I/O that is under way while writeback commits: it is supposed to end, and what it
has written to be converted, behind the commit (`harness.running.suppositions`)."""

AGAIN = "////"
"""The same for the task that asked for this writeback: it is supposed to have waited for a
conversion, so that it is written back once more."""

PIECEMEAL = "/////"
"""The same for blocks that nobody saw: in how many pieces they were freed, and so which quota
warnings came of it, is supposed to be unknown (`harness.running.suppositions`)."""

TURNS = ("/1", "/2", "/3")
"""The same for several I/Os whose order shows: they are supposed to have ended in the second,
third or fourth of the orders that make a difference."""


class Subject(Protocol):
    """Turns a workload into a trace."""

    @property
    def name(self) -> str:
        """How reports call it."""

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
        """Run `workload` and say what was seen.

        `placement` comes from the other subject of the comparison, if that one has run
        already; subjects that are real kernels ignore it. Raises `NotModelledError` or
        `MachineryError`.
        """


class Reference(Protocol):
    """The expecting side: a subject that may be able to follow known issues."""

    @property
    def name(self) -> str:
        """How reports call it."""

    def run(self, workload: Workload, placement: Placement | None, quirks: frozenset[str]) -> Trace:
        """What it expects, following `quirks`. Raises as `Subject.run` does."""


def placement_of(trace: Trace) -> Placement:
    """Where the kernel behind `trace` put the blocks, step by step.

    A file system that was shut down shows nothing, and does nothing more: where blocks lie by
    then shows after the next mount.
    """
    observations = [step.observation if step.observed else None for step in trace.steps]
    if trace.final is not None:
        end = trace.final.observation
        observations = [end if seen is not None and seen.error else seen for seen in observations]
        observations.append(end)
    return tuple(
        None
        if observation is None
        else {name: file.extents or () for name, file in observation.files.items()}
        for observation in observations
    )


def encode(trace: Trace) -> bytes:
    """`trace` as JSON."""
    return msgspec.json.encode(trace)


class _Version(msgspec.Struct):
    version: int = VERSION


def decode(data: bytes) -> Trace:
    """The trace behind `encode`'s JSON, of this version or the first.

    Raises `msgspec.ValidationError` if it is not one, `msgspec.DecodeError` if it is no JSON.
    """
    version = msgspec.json.decode(data, type=_Version).version
    if version == VERSION:
        return msgspec.json.decode(data, type=Trace)
    if version != 1:
        raise msgspec.ValidationError(f"trace of version {version}, not of 1 to {VERSION}")
    raw = msgspec.json.decode(data)
    final = raw.get("final")
    if isinstance(final, dict) and isinstance(final.get("log"), list):
        final["log"] = [{"kind": "other", "title": line, "lines": [line]} for line in final["log"]]
    return msgspec.convert({**raw, "version": VERSION}, Trace, str_keys=True)
