"""A workload as a case of xfstests: a test of xfs_io commands, and its golden output.

The golden output is what is expected of the workload (`Expected`), as xfs_io prints it.
"""

from __future__ import annotations

from workloads.formats.exported import (
    Expected,
    Exported,
    FinalFile,
    Foretell,
    Kept,
    LeftOut,
    NotForetoldError,
    reduced,
    said_of,
)
from workloads.formats.heads import head_of
from workloads.formats.xfs_io_export import Call, calls, impossible
from workloads.formats.xfs_io_words import WRITES, is_cut, is_error, printed
from workloads.images import Image
from workloads.ops import (
    AnyOp,
    MmapWrite,
    MsyncWrite,
    Otrunc,
    Read,
    Remount,
    Rename,
    Seek,
    Unlink,
)
from workloads.program import Program
from workloads.syntax import format_op

__all__ = ["write_case"]

_START = """\
. ./common/preamble
_begin_fstest {groups}

. ./common/filter

_exclude_fs ext2
_exclude_fs ext3
_require_scratch
{requires}
# The data ranges of a file in units of 512 bytes, neighbours of one kind as one.
_extents()
{{
	$XFS_IO_PROG -r -c "fiemap -v" "$1" | $AWK_PROG '
	$3 == "hole" || $2 !~ /^\\[/ {{ next }}
	{{
		split(substr($2, 2), ends, /\\.\\.|\\]/)
		flags = substr($NF, length($NF) - 2, 1)
		kind = flags ~ /[89a-f]/ ? "unwritten" : "data"
		if (kind == last && ends[1] == stop + 1) {{
			stop = ends[2]
			next
		}}
		if (last)
			print "  " start ".." stop " " last
		start = ends[1]
		stop = ends[2]
		last = kind
	}}
	END {{ if (last) print "  " start ".." stop " " last }}'
}}

# A file at the end: NAME LOW HIGH [extents]. How many blocks of the extent tree are among
# its blocks (512 bytes each) depends on where they lie, so only their bounds are known.
_left()
{{
	local file=$SCRATCH_MNT/$1
	local blocks=$(stat -c %b $file)

	echo "$1 size $(stat -c %s $file)"
	[ $blocks -ge $2 ] && [ $blocks -le $3 ] || echo "  blocks $blocks, not $2 to $3"
	[ -z "$4" ] || _extents $file
}}

MKFS_OPTIONS="{mkfs}"
_scratch_mkfs_sized {size} {block} >> $seqres.full 2>&1
_scratch_mount "-o {mount}"
"""
_END = """
echo "what is left"
_scratch_cycle_mount
ls $SCRATCH_MNT | grep -v lost+found
{files}
# success, all done
status=0
exit
"""
_GROUPS = {
    "falloc": "prealloc", "falloc_keep": "prealloc", "fpunch": "punch", "fzero": "zero",
    "fzero_keep": "zero", "fcollapse": "collapse", "finsert": "insert", "mwrite": "mmap",
    "mwrite_msync": "mmap", "copy_range": "copy_range",
}  # fmt: skip
_REQUIRES = {
    "falloc": "falloc", "falloc_keep": "falloc", "fpunch": "fpunch", "fzero": "fzero",
    "fzero_keep": "fzero", "fcollapse": "fcollapse", "finsert": "finsert",
    "copy_range": "copy_range",
}  # fmt: skip
_THROUGHPUT = "XXX Bytes, X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)"
"""What _filter_xfs_io makes of the second line of a read or write."""


def write_case(program: Program, foretell: Foretell, seq: str = "999") -> Exported:
    """The test, to be called `seq`, and its `.out`, on the program's first configuration.

    Raises `NotForetoldError` where a file system gets full.
    """
    kept, expected, left_out = reduced(program, foretell, _judge)
    before: dict[str, int] = {}
    for (index, op), after in zip(kept, expected.steps, strict=True):
        size = getattr(op, "len", 0) if isinstance(op, tuple(WRITES)) else 0
        short = isinstance(after.result, int) and after.result < size
        if is_cut(op, after.result, before.get(getattr(op, "file", ""), 0)):
            raise NotForetoldError(
                f"operation {index + 1} comes short, and xfs_io goes on with the rest of a copy"
            )
        before = after.sizes
        if short or after.result in ("ENOSPC", "EDQUOT"):
            raise NotForetoldError(
                f"operation {index + 1} finds no space, and what a full file system does then"
                " depends on where its blocks lie"
            )
    lines = calls(kept)
    text = _test(program, lines, left_out, expected)
    return Exported(
        {"": text, ".out": "\n".join([f"QA output created by {seq}", *_golden(
            program, lines, kept, expected)]) + "\n"},
        tuple(left_out),
    )  # fmt: skip


def _judge(kept: Kept, expected: Expected) -> list[LeftOut]:
    found = impossible(kept)
    missing = {item.index for item in found}
    for (index, op), after in zip(kept, expected.steps, strict=True):
        why = _problem(op, after.result)
        if why is not None and index not in missing:
            found.append(LeftOut.of(index, op, why))
    return found


def _problem(op: AnyOp, result: int | str | list[list[int]]) -> str | None:
    """Why the output of `op` can't be foretold, though xfs_io can do it."""
    if not isinstance(result, str) or isinstance(op, Read):
        return None
    if isinstance(op, MmapWrite | MsyncWrite) and result != "SKIP":
        return "a store that fails kills xfs_io"
    if isinstance(op, Rename | Unlink | Otrunc | Remount):
        return "it fails, and what the shell then says is not the same everywhere"
    return None


def _test(program: Program, lines: list[Call], left_out: list[LeftOut], expected: Expected) -> str:
    config = program.configs[0]
    words = {type(program.ops[index]).WORD for call in lines for index in call.indices}
    groups = ["auto", "quick", "rw", *sorted({_GROUPS[word] for word in words & set(_GROUPS)})]
    required = sorted({_REQUIRES[word] for word in words & set(_REQUIRES)})
    head = [
        *head_of(program),
        *said_of(left_out, len(program.ops)),
        f"configuration: {config.name}",
    ]
    text = "#! /bin/bash\n# SPDX-License-Identifier: GPL-2.0\n#\n"
    text += "".join(f"# {line}\n" for line in head)
    text += _START.format(
        groups=" ".join(groups),
        requires="".join(f'_require_xfs_io_command "{word}"\n' for word in required),
        mkfs=_mkfs_options(config.image),
        size=config.image.size,
        block=config.image.block_size,
        mount=config.mount,
    )
    for call in lines:
        text += "\n" + "".join(
            f"# {index + 1} {format_op(program.ops[index], index)}\n" for index in call.indices
        )
        text += _line(call, program) + "\n"
    return text + _END.format(
        files="".join(_look(name, file) + "\n" for name, file in sorted(expected.final.items()))
    )


def _look(name: str, file: FinalFile) -> str:
    """The line that looks at a file at the end: its name, and the bounds of its blocks."""
    low, high = file.blocks or (0, 1 << 62)
    extents = "" if file.extents is None else "extents"
    return f"_left {name} {low} {high} {extents}".rstrip()


def _mkfs_options(image: Image) -> str:
    """mke2fs's options, but for the block size, which _scratch_mkfs_sized sets."""
    options = list(image.options)
    at = options.index("-b")
    del options[at : at + 2]
    return " ".join(["-m 0", *options])


def _line(call: Call, program: Program) -> str:
    """A line of the test, which prints what the golden output has of it."""
    ops = [program.ops[index] for index in call.indices]
    if any(isinstance(op, Remount) for op in ops):
        return "_scratch_cycle_mount"
    text = call.text("$XFS_IO_PROG", "$SCRATCH_MNT")
    return text if call.shell else f"{text} 2>&1 | _filter_xfs_io"


def _golden(program: Program, lines: list[Call], kept: Kept, expected: Expected) -> list[str]:
    """The lines that the test prints. xfs_io writes into a pipe: its errors come first."""
    after = {index: step for (index, _), step in zip(kept, expected.steps, strict=True)}
    sizes: dict[int, dict[str, int]] = {}
    before: dict[str, int] = {}
    for index, _ in kept:
        sizes[index] = before
        before = after[index].sizes
    golden: list[str] = []
    for call in lines:
        errors: list[str] = []
        told: list[str] = []
        for index in call.indices:
            op, result = program.ops[index], after[index].result
            texts = printed(op, result, sizes[index].get(getattr(op, "file", ""), 0))
            failed = is_error(result) and not isinstance(result, int)
            (errors if failed else told).extend(texts)
            if texts and not failed and not isinstance(op, Seek):
                told.append(_THROUGHPUT)
        golden += [*errors, *told]
    golden += ["what is left", *sorted(expected.final)]
    for name, file in sorted(expected.final.items()):
        golden += _left(name, file)
    return golden


def _left(name: str, file: FinalFile) -> list[str]:
    """The lines of a file at the end."""
    lines = [f"{name} size {file.size}"]
    joined: list[tuple[int, int, bool]] = []
    for start, length, unwritten in file.extents or ():
        if joined and joined[-1][2] == unwritten and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], start + length, unwritten)
        else:
            joined.append((start, start + length, unwritten))
    for start, end, unwritten in joined:
        kind = "unwritten" if unwritten else "data"
        lines.append(f"  {start // 512}..{end // 512 - 1} {kind}")
    return lines
