"""Candidates on simpler configurations, and numbers that move with the size of a block."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.minimize.calls import map_calls
from harness.minimize.simplicity import (
    DEFAULT_MOUNTS,
    SIMPLER_IMAGES,
    base_name,
    config_cost,
)
from workloads.fields import fields_of
from workloads.images import IMAGES, Image
from workloads.ops import Call
from workloads.program import resized
from workloads.workload import Config, Workload

__all__ = ["simpler_configs"]

SIZES = (32, 16)
"""MiB that an image of an unusual size may have instead."""


def simpler_configs(workload: Workload) -> Iterator[Workload]:
    """`workload` on simpler configurations, the simplest first; on another size of blocks
    first with its numbers of bytes in proportion."""
    config = workload.config
    for candidate in sorted(set(_configs(config)), key=config_cost):
        if config_cost(candidate) >= config_cost(config):
            continue
        moved = msgspec.structs.replace(workload, config=candidate)
        old, new = config.image.block_size, candidate.image.block_size
        if old != new:
            yield _scaled(moved, old, new)
        yield moved


def _configs(config: Config) -> Iterator[Config]:
    for mount in _mounts(config.mount):
        for image in _images(config.image):
            yield Config(image, mount)


def _mounts(mount: str) -> list[str]:
    """The plain mounts, the mount with one option less, and itself."""
    options = mount.split(",")
    fewer = [",".join(options[:at] + options[at + 1 :]) for at in range(len(options))]
    return list(dict.fromkeys([*DEFAULT_MOUNTS, *filter(None, fewer), mount]))


def _images(image: Image) -> Iterator[Image]:
    """The simpler images, of their usual size and of that of `image`; and `image`."""
    base = base_name(image)
    for name in (*SIMPLER_IMAGES.get(base, ("4k",)), *filter(None, [base])):
        yield IMAGES[name]
        if not image.sha256 and image.size != IMAGES[name].size:
            yield resized(IMAGES[name], image.size)
    if base:
        yield from (resized(IMAGES[base], mib << 20) for mib in SIZES)
    yield image


def _scaled(workload: Workload, old: int, new: int) -> Workload:
    """Whole blocks of `old` bytes become as many blocks of `new` bytes."""

    def change(_number: int, call: Call) -> Call:
        values = {
            field.name: value // old * new
            for field in fields_of(type(call))
            if field.kind == "bytes" and (value := getattr(call, field.name)) % old == 0
        }
        return msgspec.structs.replace(call, **values)

    return msgspec.structs.replace(workload, ops=map_calls(workload.ops, change))
