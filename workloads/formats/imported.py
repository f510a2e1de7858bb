"""What an importer gives: a program, and what of the text it could not take along."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn, cast

import msgspec

from workloads.fields import BadValue, fields_of
from workloads.ops import AnyOp, Op
from workloads.program import Note, Program
from workloads.syntax import WorkloadSyntaxError

__all__ = ["Builder", "Imported", "Remark"]


class Remark(msgspec.Struct, frozen=True):
    """Something about line `line` (from 1) of the text: `what` stands there, and `why` it
    was left out or changed."""

    line: int
    what: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}: {self.why}"


class Imported(msgspec.Struct, frozen=True):
    """A program, and what of the text is missing in it.

    `left_out` are steps of the text without an operation, `changed` those that became
    something a little different. `passed_over` counts what has nothing to do with the
    files of the workload, by name.
    """

    program: Program
    left_out: tuple[Remark, ...] = ()
    changed: tuple[Remark, ...] = ()
    passed_over: dict[str, int] = {}

    def summary(self) -> list[str]:
        """Lines for people: how much became what, and the reasons with their counts."""
        lines = [f"{len(self.program.ops)} operations"]
        for word, remarks in (("left out", self.left_out), ("changed", self.changed)):
            if remarks:
                lines.append(f"{len(remarks)} {word}:")
                reasons = Counter(remark.why for remark in remarks)
                lines += [
                    f"  {count} {'times' if count > 1 else 'time'}: {why}"
                    for why, count in reasons.most_common()
                ]
        if self.passed_over:
            lines.append(f"{sum(self.passed_over.values())} passed over (no file of the workload):")
            counts = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
            lines.append("  " + ", ".join(f"{name} {count}" for name, count in counts))
        return lines


class Builder:
    """Collects the operations of a text called `file` in errors; `name` is the program's."""

    def __init__(self, name: str, file: str) -> None:
        self.name, self.file = name, file
        self.ops: list[AnyOp] = []
        self._notes: list[Note] = []
        self._left_out: list[Remark] = []
        self._changed: list[Remark] = []
        self._passed_over: Counter[str] = Counter()

    def fail(self, line: int, problem: str, column: int = 1) -> NoReturn:
        """Refuse the text. Raises `WorkloadSyntaxError`."""
        raise WorkloadSyntaxError(self.file, line, column, problem)

    def add(self, line: int, cls: type[Op], *, column: int = 1, **values: Any) -> None:
        """Append an operation; without a `tag` it gets the one that its place gives it.

        Raises `WorkloadSyntaxError` if a field can't hold its value.
        """
        fields = {field.name: field for field in fields_of(cls)}
        if "tag" in fields:
            values.setdefault("tag", len(self.ops) + 1)
        for name, value in values.items():
            if isinstance(value, int | str):
                try:
                    fields[name].parse(str(value))
                except BadValue as error:
                    self.fail(line, f"{cls.WORD}: {error}", column)
        self.ops.append(cast(AnyOp, cls(**values)))

    def leave_out(self, line: int, what: str, why: str) -> None:
        """Something of the text has no operation."""
        self._left_out.append(self._remark(line, what, why, "left out"))

    def change(self, line: int, what: str, why: str) -> None:
        """What was added last, or comes next, is not quite what the text says."""
        self._changed.append(self._remark(line, what, why, "changed"))

    def pass_over(self, name: str) -> None:
        """Something of the text is not about the files of the workload."""
        self._passed_over[name] += 1

    def _remark(self, line: int, what: str, why: str, verb: str) -> Remark:
        what = " ".join(what.split())
        remark = Remark(line, what if len(what) <= 60 else f"{what[:57]}...", why)
        self._notes.append(Note(len(self.ops), f"{verb}: {remark}"))
        return remark

    def build(self, shown: Program | None, last_line: int, content: str) -> Imported:
        """The program. `shown` is what the text's head says of it, if we wrote that head;
        `content` says what the writes hold, compared with the text."""
        if not self.ops:
            self.fail(last_line, "no operation of this text is about a file of the workload")
        program = Program(self.name, tuple(self.ops))
        if shown is not None:
            program = msgspec.structs.replace(shown, name=self.name, ops=program.ops)
        imported = Imported(
            program, tuple(self._left_out), tuple(self._changed), dict(self._passed_over)
        )
        head = [Note(-1, f"imported from {self.file}: {imported.summary()[0]}"), Note(-1, content)]
        head += [Note(-1, text.strip()) for text in imported.summary()[1:]]
        notes = (*head, *self._notes)
        program = msgspec.structs.replace(program, notes=notes)
        return msgspec.structs.replace(imported, program=program)
