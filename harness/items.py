"""Workload files as pytest sees them: a file is a collector, a configuration an item."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.artifacts.artifact import folder_name, try_keep
from harness.generated import Batch
from harness.lab import LAB
from harness.signature import signature_of
from harness.verdict import Compared, Outcome, Verdict
from reports.summary import Digest, digest
from reports.terminal import explain
from workloads.files import CATALOGUE, load
from workloads.syntax import WorkloadSyntaxError
from workloads.workload import Workload

__all__ = ["GeneratedFolder", "WorkloadFile", "WorkloadItem"]


class Told(Exception):
    """What a report says of an item that did not pass, in the words for a person."""


class WorkloadFile(pytest.File):
    """A workload file; its items are its program on each configuration and path."""

    @classmethod
    def at(cls, parent: pytest.Collector, path: Path) -> WorkloadFile:
        """The collector of `path`; catalogue files go by `topic/name.ops` wherever they are."""
        for base in (CATALOGUE, parent.config.rootpath, path.parent.parent):
            if path.is_relative_to(base):
                nodeid = path.relative_to(base).as_posix()
                return cls.from_parent(parent, path=path, nodeid=nodeid)
        raise ValueError(f"{path} is not absolute")

    def collect(self) -> Iterator[WorkloadItem]:
        """An item per configuration that is selected and path that the kernel has."""
        program = load(self.path)
        lab = self.config.stash[LAB]
        for config in lab.selected(program.configs):
            for suffix, variant in lab.variants(config):
                workload = Workload(program.name, variant, program.ops, program.shows)
                yield WorkloadItem.from_parent(self, name=config.name + suffix, workload=workload)

    def repr_failure(  # type: ignore[override]
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        """One line for a file that can't be read."""
        if isinstance(excinfo.value, WorkloadSyntaxError):
            return str(excinfo.value)
        if isinstance(excinfo.value, OSError | UnicodeDecodeError):
            return f"{self.path}: not a readable workload file: {excinfo.value}"
        return super().repr_failure(excinfo)


class GeneratedFolder(pytest.Collector):
    """A batch of generated programs; an item is `random/seed-7/000123::4k@delalloc`."""

    def __init__(self, *, batch: Batch, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch

    def collect(self) -> Iterator[WorkloadItem]:
        """An item per program, configuration and path that the kernel has."""
        lab = self.config.stash[LAB]
        for index, program in self.batch.programs():
            for config in lab.selected(program.configs):
                for suffix, variant in lab.variants(config):
                    name = config.name + suffix
                    yield WorkloadItem.from_parent(
                        self,
                        name=f"{index:06}::{name}",
                        nodeid=f"{self.batch.folder}/{index:06}::{name}",
                        workload=Workload(program.name, variant, program.ops, program.shows),
                    )


class WorkloadItem(pytest.Item):
    """A workload on one configuration and path.

    Its set-up runs both subjects, so that machinery that fails is an error of the set-up;
    the call judges what they saw.
    """

    def __init__(self, *, workload: Workload, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workload = workload
        self.compared: Compared | None = None
        self.kept_in: Path | None = None
        self.seconds = 0.0
        self.recorded: bytes | None = None

    def setup(self) -> None:
        """Run both subjects. Raises `Told` if the machinery or the workload is at fault."""
        lab = self.config.stash[LAB]
        began = time.monotonic() - lab.pair.starting
        try:
            self.compared = lab.run(self.workload)
        finally:
            self.seconds = time.monotonic() - lab.pair.starting - began
        if self.config.getoption("record"):
            self.recorded = lab.kept(self.compared)
        verdict = self.compared.verdict
        signature = signature_of(verdict)
        self.user_properties += [
            ("outcome", str(verdict.outcome)),
            ("config", verdict.workload.config.name),
            ("path", verdict.workload.config.path),
            ("kernel", verdict.kernel or "unknown"),
            *((("build id", verdict.build_id),) if verdict.build_id else ()),
            *(("complaint", title) for title in verdict.complaints),
            *((("signature", signature.id),) if signature is not None else ()),
        ]
        if verdict.outcome in (Outcome.BROKEN, Outcome.UNUSABLE):
            if not lab.pair.usable():
                self.session.shouldstop = f"no guest comes up: {verdict.broken}"
            raise Told(explain(self.compared))

    def runtest(self) -> None:
        """Judge. Raises `Told` with the explanation of a mismatch."""
        if self.compared is None:
            raise RuntimeError("the set-up has not run")
        verdict = self.compared.verdict
        if verdict.outcome is Outcome.NOT_MODELLED:
            pytest.skip(f"not modelled: {verdict.refused}")
        if verdict.outcome is Outcome.MISMATCH:
            lab = self.config.stash[LAB]
            directory = lab.results / folder_name(self.nodeid)
            self.kept_in, note = try_keep(self.compared, lab.pair, directory)
            colour = self.config.get_terminal_writer().hasmarkup
            raise Told(explain(self.compared, colour=colour, kept_in=self.kept_in) + note)

    def teardown(self) -> None:
        """Free the traces: pytest keeps items until the end."""
        self.compared = self.recorded = None

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """What was found, in words; a traceback only for faults of this program."""
        if isinstance(excinfo.value, Told):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    @staticmethod
    def unforeseen(error: BaseException) -> bool:
        """Whether `error`, raised by an item, is a fault of this program."""
        return not isinstance(error, Told | pytest.skip.Exception)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the workload is written, and its name."""
        return self.path, None, self.nodeid.replace(".ops::", "::")  # a dot would be split

    def digest(self, error: str | None = None) -> Digest:
        """This item's part of the summary; `error` is a fault of this program."""
        if self.compared is not None and error is None:
            verdict = self.compared.verdict
        else:
            verdict = Verdict(self.workload, ("expected", "actual"), broken=error or "not run")
        kept = str(self.kept_in) if self.kept_in else None
        return digest(verdict, self.nodeid, self.seconds, kept)
