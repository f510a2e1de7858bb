"""One run of many workloads: what came out so far, and the exit status that it leads to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import AGREE, INTERRUPTED, MACHINERY, MISMATCH, USAGE
from harness.verdict import Outcome
from reports.summary import Digest, summarise

__all__ = ["Results", "exit_status"]


def exit_status(
    digests: Sequence[Digest], *, interrupted: bool = False, unusable: bool = False
) -> int:
    """The status of a run.

    A mismatch counts more than broken machinery, and that more than unusable input
    (`unusable`: workload files that could not be read, or nothing was selected). A run
    in which the model refused everything has compared nothing: that is no agreement.
    """
    outcomes = {digest.outcome for digest in digests}
    if interrupted:
        return INTERRUPTED
    if Outcome.MISMATCH in outcomes:
        return MISMATCH
    if Outcome.BROKEN in outcomes:
        return MACHINERY
    if unusable or Outcome.UNUSABLE in outcomes:
        return USAGE
    return MACHINERY if outcomes == {Outcome.NOT_MODELLED} else AGREE


class Results:
    """The digests of a run, also kept in `results.jsonl` of its folder as they come in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.digests: list[Digest] = []
        self.trouble: list[str] = []

    def add(self, digest: Digest) -> None:
        """Take note of one verdict, at once and for good."""
        self.digests.append(digest)
        row = msgspec.to_builtins(digest)
        if digest.signature is not None:  # what tools group by
            row["signature"] |= {"id": digest.signature.id, "text": digest.signature.text}
        self._append("results.jsonl", json.dumps(row) + "\n")

    def finish(self, header: Sequence[str], identity: Mapping[str, str] | None = None) -> list[str]:
        """The summary's lines, also kept as `summary.txt`, with `identity.json` beside it."""
        lines = [*header, "", *summarise(self.digests)]
        if self.digests and identity:
            said = json.dumps(identity, indent=2, sort_keys=True)
            self._append("identity.json", said + "\n", "w")
        if self.digests:
            self._append("summary.txt", "\n".join(lines) + "\n")
        return lines + ([f"results are in {self.directory}"] if self.digests else [])

    def _append(self, name: str, text: str, mode: str = "a") -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with (self.directory / name).open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            reason = f"cannot keep {name} in {self.directory}: {error.strerror or error}"
            if reason not in self.trouble:
                self.trouble.append(reason)
