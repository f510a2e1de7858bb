"""A workload as a C program that needs nothing but the C library.

It makes the same system calls as the guest's agent, faulting source pages included, prints
each result, and observes each file after each step: size, blocks, FIEMAP without a flush,
and what EXT4_IOC_GET_ES_CACHE knows. Its functions are in `program.c`, in sections named
after the operations that need them. The threads of a parallel section are POSIX threads.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from random import Random

from workloads.fields import fields_of
from workloads.formats.exported import Exported, said_of
from workloads.formats.heads import head_of
from workloads.ops import (
    Call,
    Collapse,
    DropCaches,
    DsyncWrite,
    Falloc,
    FallocKeep,
    FileOp,
    Insert,
    MmapWrite,
    MsyncWrite,
    Op,
    Parallel,
    Punch,
    Pwritev,
    RangeOp,
    Remount,
    SyncWrite,
    WriteZeroes,
    Zero,
    ZeroKeep,
    calls,
)
from workloads.program import Program
from workloads.sections import default_tag
from workloads.syntax import format_op

__all__ = ["SUFFIX", "write_program"]

SUFFIX = ".c"
_HOLDS = (0, 20_000, 200_000, 2_000_000)
"""Nanoseconds by which the calls of a section are held back at the most; one for each section."""

_MODES: dict[type[Op], str] = {
    Falloc: "0",
    FallocKeep: "FALLOC_FL_KEEP_SIZE",
    Punch: "FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE",
    Zero: "FALLOC_FL_ZERO_RANGE",
    ZeroKeep: "FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE",
    Collapse: "FALLOC_FL_COLLAPSE_RANGE",
    Insert: "FALLOC_FL_INSERT_RANGE",
    WriteZeroes: "0x80 /* FALLOC_FL_WRITE_ZEROES */",
}
_USAGE = """\
build: gcc -O1 -static{options} -o {name} {name}.c
usage: ./{name} DIRECTORY [DEVICE]
DIRECTORY is where an empty ext4 is mounted ({config}), DEVICE what it is on
each step prints its result, and of each file: size, blocks (512 bytes), extents by
FIEMAP without a flush, and what EXT4_IOC_GET_ES_CACHE has of them\
"""
_MAIN = """\

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s DIRECTORY [DEVICE]\\n", argv[0]);
		return 2;
	}
	root = argv[1];
	device = argv[2];
"""
_END = """\
	printf("end\\n");
	sync();
	drop_caches();
	if (device)
		remount();
	close_file(NULL);
	observe();
	return 0;
}
"""


def write_program(program: Program) -> Exported:
    """The program; nothing is left out. The threads of a parallel section are threads of it."""
    functions: list[str] = []
    steps: list[str] = []
    used: set[str] = set()
    for index, op in enumerate(program.ops):
        number = index + 1
        used |= {op.WORD, *(call.WORD for call in calls((op,)))}
        if isinstance(op, Parallel):
            functions.append(_section(op, index))
            text = format_op(op, index).partition(";")[0]
            steps.append(f'\tSTEP({number}, "{text}", step{number}());\n')
            steps.append(f"\tshow_threads({len(op.threads)}, threads{number});\n")
        else:
            text = json.dumps(format_op(op, index))
            steps.append(f"\tSTEP({number}, {text},\n\t     {_call(op)});\n")
    usage = _USAGE.format(
        name=program.name,
        config=" or ".join(c.name for c in program.configs),
        options=" -pthread" if functions else "",
    )
    head = [*head_of(program), *said_of((), len(program.ops)), *usage.splitlines()]
    comment = "".join(f" * {line}\n" for line in head).replace("*/", "* /")
    options = f"#define OPTIONS {json.dumps(program.configs[0].mount)}\n"
    body = "".join((*_sections(used), *functions))
    return Exported({SUFFIX: f"/*\n{comment} */\n{options}{body}{_MAIN}{''.join(steps)}{_END}"})


def _section(section: Parallel, index: int) -> str:
    """The functions and tables of a parallel section. Its files are opened first, so that no
    call opens one."""
    number, tag = index + 1, 0
    chance = Random(section.seed)
    longest = chance.choice(_HOLDS)
    functions, tables, threads = [], [], []
    for at, thread in enumerate(section.threads):
        rows = []
        for call in thread:
            tag += 1
            name = f"step{number}_{tag}"
            text = json.dumps(format_op(call, default_tag(index, tag - 1) - 1))
            functions.append(f"static long {name}(void)\n{{\n\treturn {_call(call)};\n}}\n\n")
            rows.append(f'\t{{ {text}, {name}, {chance.randrange(longest + 1)}, "" }},\n')
        tables.append(f"static struct call calls{number}_{at}[] = {{\n{''.join(rows)}}};\n\n")
        threads.append(f"\t{{ calls{number}_{at}, {len(thread)} }},\n")
    table = f"static struct thread threads{number}[] = {{\n{''.join(threads)}}};\n\n"
    opens = "".join(
        f"\tif ({opened} < 0)\n\t\treturn -1;\n"
        for opened in dict.fromkeys(map(_opened, calls((section,))))
        if opened
    )
    run = f"\treturn run_threads({len(section.threads)}, threads{number});\n"
    body = f"static long step{number}(void)\n{{\n{opens}{run}}}\n"
    return "\n" + "".join((*functions, *tables, table, body))


def _opened(call: Call) -> str:
    """The C expression that opens what `call` works on."""
    if not isinstance(call, FileOp):
        return ""
    flags = "O_SYNC" if isinstance(call, SyncWrite) else "0"
    return f'descriptor("{call.file}", {"O_DSYNC" if isinstance(call, DsyncWrite) else flags})'


def _sections(used: set[str]) -> list[str]:
    """The parts of `program.c` that operations with these words need."""
    text = resources.files(__package__).joinpath("program.c").read_text("utf-8")
    parts = re.split(r"^/\*: (.*) \*/\n", text, flags=re.MULTILINE)[1:]
    wanted = {"always", *used}
    return [
        body for words, body in zip(parts[::2], parts[1::2], strict=True)
        if wanted & set(words.split())
    ]  # fmt: skip


def _call(op: Call) -> str:
    """The C expression that does `op`."""
    if isinstance(op, DropCaches | Remount):
        return f"{op.WORD}()"
    if type(op) in _MODES and isinstance(op, RangeOp):
        mode = _MODES[type(op)]
        return f'do_fallocate("{op.file}", {mode}, {_number(op.off)}, {_number(op.len)})'
    if isinstance(op, SyncWrite | DsyncWrite):
        flag = "O_SYNC" if isinstance(op, SyncWrite) else "O_DSYNC"
        return f'do_pwrite_flags("{op.file}", {op.off}, {op.len}, {op.tag}, {flag})'
    if isinstance(op, MmapWrite | MsyncWrite):
        sync = int(isinstance(op, MsyncWrite))
        return f'do_mwrite("{op.file}", {op.off}, {op.len}, {op.tag}, {sync})'
    if isinstance(op, Pwritev):
        pairs = ", ".join(f"{{ {n}, {-1 if r is None else r} }}" for n, r in op.segs)
        segments = f"(const int64_t[][2]){{ {pairs} }}"
        return f'do_pwritev("{op.file}", {op.off}, {op.tag}, {len(op.segs)}, {segments})'
    values = (getattr(op, field.name) for field in fields_of(type(op)))
    return f"do_{op.WORD}({', '.join(map(_number, values))})"


def _number(value: object) -> str:
    """A C constant."""
    if value == -(2**63):
        return "INT64_MIN"
    return f'"{value}"' if isinstance(value, str) else str(value)
