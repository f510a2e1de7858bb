"""A whole run in a page: counts by configuration, known issues, and what was not looked at."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.known import KNOWN_ISSUES
from harness.signature import Signature, signature_of
from harness.verdict import Outcome, Verdict
from reports.intended import counted, intended_summary
from reports.terminal import headline
from reports.words import columns, times

__all__ = ["Digest", "digest", "summarise"]

SLOWEST = 5


class Digest(msgspec.Struct, frozen=True):
    """What a summary needs of one verdict; small enough to travel between processes.

    `name` is the test item's, `seconds` its wall time. `not_compared` holds field, reason
    and count. `said` is the verdict's headline; `reason` why nothing was compared, if so;
    `complaints` are the titles of those of the kernel's complaints that count as findings.
    `signature` says what a mismatch's cause looks like; `at` is when the verdict was there, in
    seconds since 1970.
    """

    name: str
    config: str
    path: str
    outcome: Outcome
    seconds: float
    said: str
    kernel: str | None = None
    steps: int = 0
    compared: int = 0
    intended: dict[str, tuple[int, int]] = {}
    known: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    not_compared: tuple[tuple[str, str, int], ...] = ()
    reason: str | None = None
    kept_in: str | None = None
    complaints: tuple[str, ...] = ()
    build_id: str | None = None
    signature: Signature | None = None
    at: float | None = None


def digest(verdict: Verdict, name: str, seconds: float, kept_in: str | None = None) -> Digest:
    """The summary's part of `verdict`."""
    return Digest(
        name=name,
        config=verdict.workload.config.name,
        path=verdict.workload.config.path,
        outcome=verdict.outcome,
        seconds=seconds,
        said=headline(verdict),
        kernel=verdict.kernel,
        steps=verdict.steps,
        compared=verdict.compared,
        intended=counted(verdict),
        known=verdict.known,
        gone=verdict.gone,
        not_compared=tuple((*where, count) for where, count in verdict.not_compared.items()),
        reason=verdict.broken or verdict.unusable or verdict.refused,
        kept_in=kept_in,
        complaints=verdict.complaints,
        build_id=verdict.build_id,
        signature=signature_of(verdict),
        at=time.time(),
    )


def summarise(digests: Sequence[Digest]) -> list[str]:
    """The lines of the summary."""
    if not digests:
        return ["Nothing was run."]
    return [
        *_table(digests),
        *_mismatches(digests),
        *_complaints(digests),
        *intended_summary(digest.intended for digest in digests),
        *_known(digests),
        *_reasons(digests, Outcome.NOT_MODELLED, "Refused, so not compared"),
        *_reasons(digests, Outcome.UNUSABLE, "Unusable workloads"),
        *_reasons(digests, Outcome.BROKEN, "Broken machinery, which says nothing of the kernel"),
        *_not_compared(digests),
        *_slowest(digests),
    ]


def _table(digests: Sequence[Digest]) -> list[str]:
    counts = Counter((digest.config, digest.outcome) for digest in digests)
    shown = [o for o in Outcome if o is Outcome.AGREE or any(d.outcome is o for d in digests)]
    rows = [("configuration", *map(str, shown))]
    for config in dict.fromkeys(digest.config for digest in digests):
        rows.append((config, *(str(counts[config, outcome] or "-") for outcome in shown)))
    total = Counter(digest.outcome for digest in digests)
    rows.append(("all", *(str(total[outcome] or "-") for outcome in shown)))
    steps, fields = (sum(getattr(d, name) for d in digests) for name in ("steps", "compared"))
    return [*columns(rows), f"  {steps} steps and {fields} fields compared"]


def _mismatches(digests: Iterable[Digest]) -> list[str]:
    """Each cause once, however many workloads met it; the commonest first."""
    causes: dict[Signature | None, list[Digest]] = {}
    for found in digests:
        if found.outcome is Outcome.MISMATCH:
            causes.setdefault(found.signature, []).append(found)
    if not causes:
        return []
    hits = sum(map(len, causes.values()))
    lines = ["", f"Mismatches: {times(len(causes), 'finding')} in {times(hits, 'workload')}"]
    for signature, same in sorted(causes.items(), key=lambda cause: -len(cause[1])):
        lines += _cause(signature, same)
    return lines


def _cause(signature: Signature | None, found: Sequence[Digest]) -> list[str]:
    """A finding: how often, what, its shortest workload, and the first that came."""
    text = f"{signature.text} [{signature.id}]" if signature is not None else "no signature"
    example = min(found, key=lambda digest: (digest.kept_in is None, digest.steps))
    lines = [f"  {times(len(found), 'workload')}: {text}", f"    {example.said}"]
    if example.kept_in:
        lines.append(f"    kept in {_short(example.kept_in)}")
    if len(found) > 1:
        lines.append(f"    first seen at {_moment(found[0])} in {found[0].name}")
    return lines


def _moment(digest: Digest) -> str:
    """When the workload was over, by this machine's clock."""
    if digest.at is None:
        return "an unknown time"
    return datetime.datetime.fromtimestamp(digest.at).strftime("%Y-%m-%d %H:%M:%S")


def _complaints(digests: Iterable[Digest]) -> list[str]:
    """What kernels complained of, each title once."""
    counts = Counter(title for digest in digests for title in digest.complaints)
    lines = [f"  {title} in {times(count, 'workload')}" for title, count in counts.most_common()]
    return ["", "The kernel's complaints", *lines] if lines else []


def _short(path: str) -> str:
    """`path` from the current directory, if it is below it."""
    return path.removeprefix(f"{Path.cwd()}/")


def _known(digests: Sequence[Digest]) -> list[str]:
    issues = {issue.name: issue for issue in KNOWN_ISSUES}
    lines = []
    for title, field in (
        ("Known issues that showed", "known"),
        ("Known issues that no longer show on this kernel", "gone"),
    ):
        counts = Counter(name for digest in digests for name in getattr(digest, field))
        if counts:
            lines += ["", title]
        for name, count in counts.most_common():
            said = f": {issues[name].observable}" if name in issues else ""
            lines.append(f"  {name} in {times(count, 'workload')}{said}")
    return lines


def _reasons(digests: Iterable[Digest], outcome: Outcome, title: str) -> list[str]:
    found = [digest for digest in digests if digest.outcome is outcome]
    counts = Counter(digest.reason or digest.said for digest in found)
    lines = [f"  {times(count, 'workload')}: {reason}" for reason, count in counts.most_common()]
    return ["", title, *lines] if lines else []


def _not_compared(digests: Iterable[Digest]) -> list[str]:
    counts: Counter[tuple[str, str]] = Counter()
    for found in digests:
        for field, reason, count in found.not_compared:
            counts[field, reason] += count
    rows = [
        (field, times(count, "time"), reason) for (field, reason), count in counts.most_common()
    ]
    return ["", "Not compared", *columns(rows)] if rows else []


def _slowest(digests: Sequence[Digest]) -> list[str]:
    if not any(digest.seconds for digest in digests):  # of recordings
        return []
    slow = sorted(digests, key=lambda digest: -digest.seconds)[:SLOWEST]
    rows = [(f"{digest.seconds:.2f} s", digest.name) for digest in slow]
    return ["", "Slowest", *columns(rows)]
