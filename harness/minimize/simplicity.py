"""What counts as simpler: a measure of workloads, and the orders behind it, as data.

A candidate is tried only if its measure is smaller than that of the best so far, so that
minimizing ends.
"""

from __future__ import annotations

from typing import Any

from harness.minimize.calls import default_tags, names_of
from workloads.fields import Field, fields_of, format_number
from workloads.images import IMAGES, Image
from workloads.ops import (
    AnyOp,
    Append,
    Call,
    DioWrite,
    DsyncWrite,
    Falloc,
    FallocKeep,
    Fdatasync,
    Fsync,
    MmapIn,
    MmapWrite,
    MsyncWrite,
    Op,
    Parallel,
    Pwritev,
    Remount,
    RlimitWrite,
    SyncRange,
    SyncWrite,
    UserWrite,
    Write,
    WriteFault,
    WriteZeroes,
    Zero,
    ZeroKeep,
    calls,
)
from workloads.ops import DropCaches as Drop
from workloads.workload import Config, Workload

__all__ = [
    "DEFAULT_MOUNTS", "IMAGES_BY_SIMPLICITY", "NAMES", "SIMPLER_IMAGES", "SIMPLER_KINDS",
    "base_name", "config_cost", "kind_rank", "measure", "number_cost",
]  # fmt: skip

IMAGES_BY_SIMPLICITY: tuple[str, ...] = (
    "4k", "1k", "2k", "small4k", "nocsum4k", "nojournal", "ext3ish", "inline", "bigalloc16k",
    "bigalloc64k", "1kbigalloc8k", "quota4k", "quotabig16k",
)  # fmt: skip
"""Images, those with fewer unusual features first; one in a file comes after all."""

SIMPLER_IMAGES: dict[str, tuple[str, ...]] = {
    "1k": ("4k", "2k"),
    "bigalloc64k": ("4k", "bigalloc16k"),
    "1kbigalloc8k": ("4k", "1k", "bigalloc16k"),
    "quotabig16k": ("4k", "quota4k", "bigalloc16k"),
    "": ("4k", "1k"),
}
"""Images to try in place of one: with a feature less, or larger blocks. One that is not named
here has `4k` for it; the empty name is that of any image in a file."""

DEFAULT_MOUNTS: tuple[str, ...] = ("delalloc", "nodelalloc")
"""What may be left of mount options at last, the simplest first."""

SIMPLER_KINDS: dict[type[Op], tuple[type[Op], ...]] = {
    Append: (Write,),
    SyncWrite: (Write,),
    DsyncWrite: (Write,),
    UserWrite: (Write,),
    RlimitWrite: (Write,),
    Pwritev: (Write, WriteFault),
    WriteFault: (Write,),
    DioWrite: (Write,),
    MmapWrite: (Write,),
    MsyncWrite: (MmapWrite,),
    MmapIn: (MmapWrite,),
    FallocKeep: (Falloc,),
    WriteZeroes: (Zero,),
    ZeroKeep: (Zero,),
    Fdatasync: (Fsync,),
    SyncRange: (Fsync,),
    Remount: (Drop,),
}
"""What may stand for an operation and is easier to understand, the simplest first."""

NAMES = "abcdefghijklmnopqrstuvwxyz"
"""Names of files, in the order in which a program should come to them."""

Cost = tuple[int, ...]


def number_cost(value: int, block: int) -> Cost:
    """How far from simple a number of bytes is; `block` is the size of a block in bytes.

    0 is the simplest, then whole blocks, the fewer the better; then what is short to write.
    """
    if value == 0:
        return (0, 0, 0)
    if value % block == 0:
        return (1 + (value < 0), 0, abs(value))
    return (3, len(format_number(value)), abs(value))


def base_name(image: Image) -> str:
    """The name of the image of the usual size (`4k` of `4k-20m`); empty for an image in a file."""
    name = image.name.partition("-")[0]
    return name if name in IMAGES and not image.sha256 else ""


def config_cost(config: Config) -> Cost:
    """How far `config` is from 4k@delalloc: mount options beyond the plain ones, then the
    image's features, a size that is not its usual one, then the plain option."""
    image = config.image
    base = base_name(image)
    rank = IMAGES_BY_SIMPLICITY.index(base) if base else len(IMAGES)
    usual = base in IMAGES and image == IMAGES[base]
    plain = [DEFAULT_MOUNTS.index(option) for option in config.options & {*DEFAULT_MOUNTS}]
    extra = len(config.options - {*DEFAULT_MOUNTS})
    size = 0 if usual else len(format_number(image.size))
    return (extra, rank, size, min(plain, default=len(DEFAULT_MOUNTS)))


def kind_rank(kind: type[Op]) -> int:
    """How many simpler kinds there are on the way from this one to the simplest."""
    return max((1 + kind_rank(simpler) for simpler in SIMPLER_KINDS.get(kind, ())), default=0)


def measure(workload: Workload) -> tuple[Cost, Cost, Cost]:
    """What is to become smaller: operations first, then the configuration, then arguments."""
    ops = workload.ops
    each = tuple(calls(ops))
    sections = sum(isinstance(op, Parallel) for op in ops)
    size = (len(each) + sections, sections)
    return size, config_cost(workload.config), _arguments(ops, each, workload.config)


def _arguments(ops: tuple[AnyOp, ...], each: tuple[Call, ...], config: Config) -> Cost:
    """The costs of all arguments, added up."""
    block = config.image.block_size
    kinds = sum(kind_rank(type(call)) for call in each)
    names = names_of(each)
    odd = sum(name != NAMES[at % len(NAMES)] for at, name in enumerate(names))
    costs = [
        _cost(field, getattr(call, field.name), block, tag)
        for call, tag in zip(each, default_tags(ops), strict=True)
        for field in fields_of(type(call))
    ]
    sums = [sum(part) for part in zip((0, 0, 0), *costs, strict=True)]
    schedule = sum((op.seed > 0) + (op.order != ()) for op in ops if isinstance(op, Parallel))
    return (kinds, len(names), *sums, schedule, odd)


def _cost(field: Field, value: Any, block: int, tag: int) -> Cost:
    """How far one argument is from simple."""
    if field.kind == "bytes":
        return number_cost(value, block)
    if field.kind == "segments":
        parts = [n for segment in value for n in (*segment[:1], segment[1] or 0)]
        costs = [(1, 0, segment[1] is not None) for segment in value]
        return _added([*costs, *(number_cost(part, block) for part in parts)])
    if field.name == "tag":
        return (value != tag, 0, 0)
    if field.kind == "options":
        return (len(value.split(",")), len(value), 0)
    if field.kind in ("share", "count", "flags"):
        return (bool(value), len(str(value)), int(value))
    return (0, 0, 0)


def _added(costs: list[Cost]) -> Cost:
    return tuple(sum(part) for part in zip(*costs, strict=True))
