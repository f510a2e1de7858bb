"""What is known of candidates: in memory, and in a file, so that a search can go on later.

The file is a line for each answer (JSON). Its first line says what the question was: the
mismatch, the two sides and their kernels. Answers to another question are not taken over.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from harness.minimize.files import replace_file, writing
from harness.verdict import Place
from workloads.workload import Workload

__all__ = ["Answer", "Answers", "key_of"]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a candidate shows the mismatch, None if it does not; of `tries` runs."""

    place: Place | None = None
    tries: int = 1


class _Line(msgspec.Struct, frozen=True):
    key: str
    answer: Answer


class _Head(msgspec.Struct, frozen=True):
    question: str


def key_of(workload: Workload) -> str:
    """Tells workloads apart by what they do and where, and not by their names."""
    said = msgspec.json.encode((workload.config, workload.ops))
    return hashlib.sha256(said).hexdigest()[:32]


class Answers:
    """Answers to `question`, kept in the file `path` if one is given.

    `earlier` counts those that were there already. A file that cannot be read, was cut
    short or answers another question begins anew; one that cannot be written raises
    `MachineryError`.
    """

    def __init__(self, question: str, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, Answer] = {}
        self._head = _Head(question)
        if path is not None:
            self._read(path)
            self._write(path)
        self.earlier = len(self._known)

    def get(self, workload: Workload) -> Answer | None:
        """What is known of `workload`."""
        return self._known.get(key_of(workload))

    def put(self, workload: Workload, answer: Answer) -> None:
        """Take note, at once and for good."""
        key = key_of(workload)
        self._known[key] = answer
        if self.path is not None:
            with writing(self.path), self.path.open("ab") as file:
                file.write(msgspec.json.encode(_Line(key, answer)) + b"\n")

    def _read(self, path: Path) -> None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            head, _, rest = path.read_bytes().partition(b"\n")
            if msgspec.json.decode(head, type=_Head) != self._head:
                return
            for line in rest.splitlines():
                known = msgspec.json.decode(line, type=_Line)
                self._known[known.key] = known.answer

    def _write(self, path: Path) -> None:
        lines = [self._head, *(_Line(key, answer) for key, answer in self._known.items())]
        replace_file(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
