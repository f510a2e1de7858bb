"""Results as pandas frames: what every report is made of, and what is exported.

`COLUMNS` documents each column of each frame. All times are in seconds. A frame without rows
has its columns all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from harness.errors import MachineryError
from harness.signature import Signature
from harness.verdict import Outcome
from reports.again import again
from reports.rows import Covered, Finding, Night, Row

__all__ = ["COLUMNS", "UNSIGNED", "Frames", "export", "frames_of"]

UNSIGNED = "unsigned"
"""The signature of mismatches that carry none."""

COLUMNS: dict[str, dict[str, str]] = {
    "nights": {
        "night": "its id",
        "line": "what is tested, as asked for; nights of one line follow each other",
        "order": "nights are sorted by it; it grows in each file whatever the clock does",
        "seed": "the seed of its programs",
        "began": "time of day in UTC, for people",
        "ended": "the same; empty if it was cut off or still runs",
        "seconds": "its time at work, over all times it was resumed",
        "machine": "the host",
        "accel": "kvm or tcg",
        "version": "of ext4diff",
        "kernel": "the identity of the kernel, as JSON",
    },
    "results": {
        "night": "the night's id",
        "line": "of the night",
        "order": "of the night",
        "kind": "random, swarm, exhaustive, or catalogue",
        "seed": "the seed of its program, if it has one",
        "number": "the number of its program, if it has one",
        "program": "the program as one asks for it again: random:7:12",
        "config": "image@mount",
        "path": "bh or iomap",
        "kernel": "the release",
        "build_id": "of the kernel, in hex, if it is known",
        "outcome": "agree, intended, known, mismatch, not modelled, unusable or broken",
        "signature": "the id of the mismatch's signature",
        "said": "the verdict in a line",
        "reason": "why nothing was compared, if so",
        "steps": "operations compared",
        "compared": "fields compared",
        "seconds": "wall time, without that of making the guest ready",
        "artifact": "where the evidence is kept, if it is",
        "shard": "the part of the plan it belongs to",
        "worker": "the process that ran it",
        "finished": "time of day in UTC, for people",
    },
    "findings": {
        "signature": "its id; equal ones are of one cause",
        "text": "the signature in a line",
        "what": "the field that parts first, and how it differs",
        "rule": "the rule of docs/semantics.md that tells most of the situation",
        "line": "of the nights in which it showed",
        "path": "bh or iomap",
        "programs": "how many rows show it, in all nights",
        "nights": "in how many nights it showed",
        "configs": "the configurations, separated by spaces",
        "kernels": "the releases, separated by spaces",
        "first": "the first night in which it showed",
        "last": "the last one",
        "example": "the program of fewest steps in the last night that showed it",
        "example_config": "the configuration of the example",
        "again": "the command that runs the example again, if the night's plan is known",
        "said": "the verdict on the example",
        "artifact": "where the evidence of the example is kept",
        "minimized": "the smallest program known to show it, as a workload file",
        "picture": "a block map in SVG",
    },
    "coverage": {
        "night": "the night's id",
        "what": "rule (of the model) or operation",
        "name": "the rule's string, or the operation's word",
        "count": "how many steps reached it",
    },
    "timings": {
        "night": "the night's id",
        "program": "as in results",
        "config": "as in results",
        "path": "as in results",
        "worker": "the process that ran it",
        "steps": "operations compared",
        "seconds": "wall time, without boot",
        "boot": "making the guest ready: boot, or restore of a snapshot",
        "run": "the guest's time with the workload",
        "model": "the model's",
        "compare": "the comparison's",
        "image": "making canonical forms of images",
        "other": "what is left: storage, waiting",
    },
    "remarks": {
        "night": "the night's id",
        "config": "as in results",
        "path": "as in results",
        "what": "known, gone (a known issue that should have shown), intended, not compared,"
        " or complaint (of the kernel)",
        "name": "the issue, difference, field or title",
        "reason": "why a field was not compared",
        "count": "how many fields; 1 for issues and complaints",
    },
}
"""What each column of each frame holds."""

_CATEGORIES = ("line", "kind", "config", "path", "kernel", "build_id", "outcome", "what", "worker")


@dataclasses.dataclass(frozen=True)
class Frames:
    """One frame for each entry of `COLUMNS`."""

    nights: pd.DataFrame
    results: pd.DataFrame
    findings: pd.DataFrame
    coverage: pd.DataFrame
    timings: pd.DataFrame
    remarks: pd.DataFrame

    def items(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Each frame with its name."""
        for name in COLUMNS:
            yield name, getattr(self, name)


def frames_of(
    nights: Sequence[Night],
    rows: Iterable[Row],
    findings: Iterable[Finding] = (),
    coverage: Iterable[Covered] = (),
) -> Frames:
    """The frames of what a store holds. Rows of a night that is not in `nights` are kept, as
    of a night before all others."""
    held = list(rows)
    known = {night.id for night in nights}
    strays = dict.fromkeys(row.night for row in held if row.night not in known)
    every = [*(Night(name) for name in strays), *nights]
    results = _results(held, {night.id: night for night in every})
    plans = {night.id: (night.plan, night.line) for night in every}
    return Frames(
        nights=_nights(every),
        results=results,
        findings=_findings(results, {one.signature: one for one in findings}, held, plans),
        coverage=_coverage(coverage),
        timings=_timings(held),
        remarks=_remarks(held),
    )


def _frame(name: str, columns: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """A frame with the columns of `COLUMNS`, repeated words as categories."""
    frame = pd.DataFrame({column: columns[column] for column in COLUMNS[name]})
    for column in frame.columns.intersection(list(_CATEGORIES)):
        frame[column] = frame[column].astype("category")
    return frame


def _nights(nights: Sequence[Night]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        column: [getattr(night, "id" if column == "night" else column) for night in nights]
        for column in COLUMNS["nights"]
    }
    columns["seed"] = _whole(columns["seed"])
    return _frame("nights", columns).sort_values(["order", "night"], ignore_index=True)


def _whole(numbers: Iterable[object]) -> Any:
    """Whole numbers, some of which may be missing."""
    return pd.array(list(numbers), dtype="Int64")


def _results(rows: Sequence[Row], nights: Mapping[str, Night]) -> pd.DataFrame:
    of_row: dict[str, Callable[[Row], object]] = {
        "line": lambda row: nights[row.night].line,
        "order": lambda row: nights[row.night].order,
        "outcome": lambda row: str(row.digest.outcome),
        "signature": _signature,
        "artifact": lambda row: row.digest.kept_in or "",
        "kernel": lambda row: row.digest.kernel or "",
        "build_id": lambda row: row.digest.build_id or "",
        "reason": lambda row: row.digest.reason or "",
    }
    columns: dict[str, Any] = {}
    for column in COLUMNS["results"]:
        if column in of_row:
            columns[column] = [of_row[column](row) for row in rows]
        elif column in Row.__struct_fields__ or column == "program":
            columns[column] = [getattr(row, column) for row in rows]
        else:
            columns[column] = [getattr(row.digest, column) for row in rows]
    for column in ("seed", "number"):
        columns[column] = _whole(columns[column])
    order = ["order", "night", "kind", "seed", "number", "program", "config", "path"]
    return _frame("results", columns).sort_values(order, ignore_index=True)


def _signature(row: Row) -> str:
    """The id of a mismatch's signature, or nothing."""
    if row.digest.outcome is not Outcome.MISMATCH:
        return ""
    return row.digest.signature.id if row.digest.signature else UNSIGNED


def _findings(
    results: pd.DataFrame,
    kept: Mapping[str, Finding],
    rows: Iterable[Row],
    plans: Mapping[str, tuple[str, str]],
) -> pd.DataFrame:
    signatures = {row.digest.signature for row in rows if row.digest.signature is not None}
    texts = {one.id: one for one in signatures}
    found: list[dict[str, object]] = []
    shown = results[results["signature"] != ""].sort_values(["order", "night"])
    groups = shown.groupby(["signature", "line", "path"], observed=True, sort=False)
    for (signature, line, path), group in groups:
        last = group[group["night"] == group["night"].iloc[-1]]
        example = last.sort_values(["steps", "program", "config"]).iloc[0]
        finding = kept.get(signature, Finding(signature, ""))
        found.append({
            "signature": signature,
            **_words(texts.get(signature), finding.text),
            "line": line,
            "path": path,
            "programs": len(group),
            "nights": group["night"].nunique(),
            "configs": " ".join(dict.fromkeys(group["config"])),
            "kernels": " ".join(dict.fromkeys(group["kernel"])),
            "first": group["night"].iloc[0],
            "last": group["night"].iloc[-1],
            "example": example["program"],
            "example_config": example["config"],
            "again": again(*plans[example["night"]], example["program"], example["config"]),
            "said": example["said"],
            "artifact": example["artifact"] or finding.artifact,
            "minimized": finding.program,
            "picture": finding.picture,
        })  # fmt: skip
    columns = {column: [entry[column] for entry in found] for column in COLUMNS["findings"]}
    return _frame("findings", columns)


def _words(signature: Signature | None, text: str) -> dict[str, object]:
    """A signature's columns; `text` is what was kept of it."""
    if signature is None:
        said = text or "mismatches without a signature"
        return {"text": said, "what": said, "rule": ""}
    bare = msgspec.structs.replace(signature, rules=())
    return {"text": signature.text, "what": bare.text, "rule": ", ".join(signature.rules)}


def _coverage(coverage: Iterable[Covered]) -> pd.DataFrame:
    fields = ("night", "what", "name", "count")
    records = [tuple(getattr(covered, field) for field in fields) for covered in coverage]
    columns = {name: [record[i] for record in records] for i, name in enumerate(fields)}
    frame = _frame("coverage", columns)
    keys = ["night", "what", "name"]
    return pd.DataFrame(frame.groupby(keys, observed=True, as_index=False)["count"].sum())


def _timings(rows: Sequence[Row]) -> pd.DataFrame:
    parts = ("boot", "run", "model", "compare", "image")
    columns: dict[str, Any] = {
        "night": [row.night for row in rows],
        "program": [row.program for row in rows],
        "config": [row.digest.config for row in rows],
        "path": [row.digest.path for row in rows],
        "worker": [row.worker for row in rows],
        "steps": [row.digest.steps for row in rows],
        "seconds": [row.digest.seconds for row in rows],
        **{part: [getattr(row.spent, part) for row in rows] for part in parts},
        "other": [max(0.0, row.digest.seconds - _told(row)) for row in rows],
    }
    return _frame("timings", columns)


def _told(row: Row) -> float:
    """The part of a row's seconds that is accounted for; a boot is not in them."""
    return float(sum(msgspec.structs.astuple(row.spent)) - row.spent.boot)


def _remarks(rows: Iterable[Row]) -> pd.DataFrame:
    records = [
        (row.night, row.digest.config, row.digest.path, *remark)
        for row in rows
        for remark in _remarks_of(row)
    ]
    names = COLUMNS["remarks"]
    return _frame("remarks", {name: [r[i] for r in records] for i, name in enumerate(names)})


def _remarks_of(row: Row) -> Iterator[tuple[str, str, str, int]]:
    found = row.digest
    yield from (("known", name, "", 1) for name in found.known)
    yield from (("gone", name, "", 1) for name in found.gone)
    yield from (("complaint", title, "", 1) for title in found.complaints)
    yield from (("intended", name, "", sum(counts)) for name, counts in found.intended.items())
    yield from (("not compared", *where) for where in found.not_compared)


def export(frames: Frames, directory: Path, form: str) -> list[Path]:
    """Write each frame to `directory`, as `parquet` or `csv`; returns the files.

    A file that was there is replaced once the new one is whole. Raises `MachineryError`.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            target = directory / f"{name}.{form}"
            part = target.with_name(f".{target.name}.part")
            try:
                if form == "csv":
                    frame.to_csv(part, index=False)
                else:
                    frame.to_parquet(part, index=False)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            written.append(target)
    except OSError as error:
        raise MachineryError(f"cannot write {directory}: {error.strerror or error}") from error
    return written
