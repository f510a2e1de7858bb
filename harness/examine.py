"""What a commit of a kernel tree is like: build it, boot it, run workloads on it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.artifacts.artifact import folder_name, try_keep
from harness.bisect import Judgement
from harness.lab import Lab
from harness.pairs import Pair, make_pair
from harness.sides.side import Choice
from harness.verdict import Compared, Outcome, Verdict
from reports.terminal import explain, headline
from vm import cache
from vm.errors import (
    BootTimeoutError,
    BuildError,
    CacheError,
    DownloadError,
    HostToolError,
    KernelError,
    KernelPanicError,
    QemuError,
)
from vm.kernels.spec import Flavour, TreeSpec
from workloads.workload import Workload

__all__ = ["Examiner"]

OURS = (HostToolError, CacheError, DownloadError)
"""Failures of this machine: they say nothing of a commit, and end the search."""
THEIRS = (KernelError, KernelPanicError, BootTimeoutError, QemuError)
"""Failures of a commit: it does not build, or not boot."""


@dataclass
class Examiner:
    """Judges commits of `tree`, built as `flavour` says, by `workloads`.

    `against`, `accel` and `strict` are the options of that name; mismatches are kept in `results`.
    """

    tree: Path
    flavour: Flavour
    against: str
    accel: str
    workloads: list[Workload]
    results: Path
    strict: bool = False
    _said: dict[str, str] = field(default_factory=dict)

    def key(self, tree: Path) -> str:
        """Tells searches apart whose judgements are not each other's."""
        asked = msgspec.json.encode(self.workloads)
        strict = ["strict"] if self.strict else []
        return cache.key_of(str(tree), str(self.flavour), self.against, asked, *strict)

    def explanation(self, sha: str) -> str | None:
        """The whole report of the commit's mismatch, if it was examined in this run."""
        return self._said.get(sha)

    def examine(self, sha: str) -> Judgement:
        """Build and run. Raises `MachineryError` if this machine is at fault."""
        spec = str(TreeSpec(self.tree, sha, self.flavour))
        pair = make_pair(self.against, Choice(spec, self.accel), strict=self.strict)
        lab = Lab(pair, self.results / sha[:12])
        with contextlib.closing(lab):
            reason = _prepared(lab)
            if reason is not None:
                return Judgement(said=reason, testable=False)
            return self._run(sha, lab, pair)

    def _run(self, sha: str, lab: Lab, pair: Pair) -> Judgement:
        judged = []
        for workload in self.workloads:
            for suffix, config in lab.variants(workload.config):
                compared = lab.run(msgspec.structs.replace(workload, config=config))
                verdict = compared.verdict
                if verdict.outcome is Outcome.MISMATCH:
                    judgement = Judgement(_what_differs(verdict, suffix), headline(verdict))
                    self._said[sha] = self._keep(compared, pair, lab)
                    return judgement
                judged.append(self._without_mismatch(verdict))
        return next((one for one in judged if not one.testable), Judgement())

    def _without_mismatch(self, verdict: Verdict) -> Judgement:
        if verdict.outcome in (Outcome.BROKEN, Outcome.UNUSABLE, Outcome.NOT_MODELLED):
            return Judgement(said=headline(verdict), testable=False)
        return Judgement()

    def _keep(self, compared: Compared, pair: Pair, lab: Lab) -> str:
        directory = lab.results / folder_name(compared.verdict.workload.name)
        kept_in, note = try_keep(compared, pair, directory)
        return explain(compared, kept_in=kept_in) + note


def _what_differs(verdict: Verdict, suffix: str) -> tuple[str, ...]:
    """What tells a mismatch from others: configuration and path, step, files and fields.

    Values are no part of it: the same bug gives other numbers on other kernels. All else is,
    other than in `harness.signature`, which knows a bug again in other programs: all commits
    run the same ones here.
    """
    first = verdict.headline
    fields = sorted({f"{m.file or '-'} {m.field.split(',')[0]}" for m in first})
    return (f"{verdict.workload.config.name}{suffix}", f"{first[0].place}", *fields)


def _prepared(lab: Lab) -> str | None:
    """Why the commit can't be tested, None if it can.

    A boot is tried twice: on a machine with much other work a good kernel may miss its time.
    """
    reason = ""
    for _ in range(2):
        try:
            lab.prepare()
        except OURS:
            raise
        except THEIRS as error:
            reason = str(error).strip().splitlines()[0]
            if isinstance(error, BuildError):
                break
        else:
            return None
    return reason
