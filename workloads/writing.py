"""The text form of workloads, written: what `workloads.syntax` reads back."""

from __future__ import annotations

from collections.abc import Iterator

from workloads.fields import Field, fields_of, format_number
from workloads.ops import AnyOp, Call, Parallel
from workloads.program import Program
from workloads.sections import AND, END, default_tag

__all__ = ["format_header", "format_line", "format_op", "format_program"]


def format_op(op: AnyOp, index: int) -> str:
    """The canonical text of operation number `index` (from 0) of a program, on one line.

    A tag that a reader of the text assumes, `index + 1`, is left out.
    """
    if isinstance(op, Parallel):
        return "; ".join(line.strip() for line in _section(op, index))
    return _format_call(op, index + 1)


def _section(op: Parallel, index: int) -> Iterator[str]:
    """The lines of a parallel section, the calls indented."""
    yield Parallel.WORD + (f" seed={op.seed}" if op.seed else "")
    number = 0
    for thread, each in enumerate(op.threads):
        if thread:
            yield AND
        for call in each:
            yield "  " + _format_call(call, default_tag(index, number))
            number += 1
    yield END


def _format_call(call: Call, assumed_tag: int) -> str:
    def text(field: Field) -> str:
        value = field.format(getattr(call, field.name))
        return f"{field.name}={value}" if field.named else value

    cls = type(call)
    shown = [
        field
        for field in fields_of(cls)
        if field.name != "tag" or call.tag != assumed_tag  # type: ignore[union-attr]
    ]
    return " ".join([cls.WORD, *(text(field) for field in shown)])


def format_header(program: Program) -> list[str]:
    """The canonical header lines of `program`."""
    lines = []
    if program.shows:
        lines.append(f"show: {program.shows}")
    lines.append(f"on: {' '.join(program.on)}")
    if program.rules:
        lines.append(f"rules: {' '.join(program.rules)}")
    if program.size is not None:
        lines.append(f"size: {format_number(program.size)}")
    return lines


def format_program(program: Program) -> str:
    """The canonical text of `program`, with its comments."""
    lines = [f"# {note.text}" for note in program.notes if note.index < 0]
    lines += [*format_header(program), ""]
    for index, op in enumerate(program.ops):
        here = [note for note in program.notes if note.index == index]
        lines += [f"# {note.text}" for note in here if not note.beside]
        beside = "".join(f"  # {note.text}" for note in here if note.beside)
        text = _section(op, index) if isinstance(op, Parallel) else [format_op(op, index)]
        lines += text
        lines[-1] += beside
    lines += [f"# {note.text}" for note in program.notes if note.index >= len(program.ops)]
    return "\n".join(lines).lstrip("\n") + "\n"


def format_line(program: Program) -> str:
    """The operations of `program` on one line, as `parse_line` reads them."""
    return "; ".join(format_op(op, index) for index, op in enumerate(program.ops))
