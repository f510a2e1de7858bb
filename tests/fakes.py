"""Small traces, and a subject that answers, dies or refuses on demand: no VM is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from harness.image.form import Canonical, Entry, Whole
from harness.sides.side import Side
from harness.trace import (
    Content,
    Extent,
    FileObservation,
    Final,
    Observation,
    Placement,
    State,
    Step,
    Trace,
)
from workloads.syntax import parse_line
from workloads.workload import Config, Workload

LINE = "pwrite a 0 4k; pwrite_fault a 8k 4k 0; fsync a"
RELEASE = "7.3.4-cloud-amd64"


def make_workload(line: str = LINE, config: str = "4k@delalloc") -> Workload:
    """The workload of a line of operations."""
    program = msgspec.structs.replace(parse_line(line, "example"), on=(config,))
    return Workload(program.name, program.configs[0], program.ops, program.shows)


def with_mount(workload: Workload, mount: str) -> Workload:
    return msgspec.structs.replace(workload, config=Config(workload.config.image, mount))


def seen(**fields: object) -> Observation:
    """An observation of the single file `a`: 4096 delayed bytes, with `fields` changed."""
    file = FileObservation(
        size=4096,
        blocks=8,
        disk_blocks=0,
        disksize=0,
        reserved=1,
        extents=(Extent(0, 4096, State.DELAYED),),
    )
    return Observation(
        files={"a": msgspec.structs.replace(file, **fields)}, delalloc=1, bfree=999, bavail=999
    )


def make_form(**fields: object) -> Canonical:
    """The canonical form of an image with the file `/a` alone, with `fields` of it changed."""
    whole = Whole(
        block_size=4096, cluster_size=4096, inode_size=256, blocks=1000, free_blocks=999,
        reserved_blocks=50, inodes=100, free_inodes=88, features=("extent", "filetype"),
        error_count=0, needs_recovery=False, orphans=0,
    )  # fmt: skip
    file = Entry(
        type="file", mode="0644", uid=0, gid=0, project=0, size=4096, links=1, flags="0x80000",
        blocks=8, extents=(Extent(0, 4096, State.WRITTEN),), content="digest",
    )  # fmt: skip
    return Canonical(whole, {"/a": msgspec.structs.replace(file, **fields)}, {})


def make_trace(
    workload: Workload | None = None,
    subject: str = "model",
    kernel: str | None = None,
    steps: dict[int, Step] | None = None,
    **fields: object,
) -> Trace:
    """A trace in which nothing changes after the start, but for the given steps."""
    workload = workload or make_workload()
    quiet = Step(result=0, events=(), observation=seen())
    content = {"a": Content(4096, "0" * 64, {0: 7})}
    final = Final(
        seen(), dropped=content, content=content, disk_blocks={"a": 8}, fsck="", image=(), log=(),
        form=make_form(),
    )  # fmt: skip
    given = {
        "start": Observation(files={}, delalloc=0, bfree=1000, bavail=1000),
        "final": final,
        **fields,
    }
    chosen = steps or {}
    return Trace(
        workload=workload,
        subject=subject,
        steps=tuple(chosen.get(index, quiet) for index in range(len(workload.ops))),
        kernel=kernel,
        **given,  # type: ignore[arg-type]
    )


Answer = Trace | BaseException | Callable[[Workload], Trace]


@dataclasses.dataclass
class FakeSubject(Side):
    """Answers each run with the next of `answers`, the last one again and again.

    An exception is raised: a panic, a hang, a death. A fake guest can do all that a real
    one can, within a microsecond.
    """

    name: str
    answers: Iterable[Answer]
    runs: list[tuple[Workload, Placement | None]] = dataclasses.field(default_factory=list)
    closed: int = 0
    iomap: bool = False

    def __post_init__(self) -> None:
        self._left = list(self.answers)
        self.is_model = self.name == "model"

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        self.runs.append((workload, placement))
        answer = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Trace) else answer(workload)

    def knows_iomap(self) -> bool:
        return self.iomap

    def close(self) -> None:
        self.closed += 1

    def save_evidence(self, directory: Path) -> None:
        (directory / "kernel.log").write_text("fake kernel log\n")
