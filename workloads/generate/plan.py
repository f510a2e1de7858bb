"""What a random program is made with: where it runs, in which setting, which operations.

A plan is all that does not depend on the file's state. Weights are relative; they say how
often something is chosen, and are what steers the generator towards rules that are hard to
reach (docs/generating.md).
"""

from __future__ import annotations

import functools

import msgspec

from workloads.generate.dice import Dice, Table
from workloads.program import config_of
from workloads.workload import Config

__all__ = ["CONFIGS", "FEATURES", "SETTINGS", "Plan", "plan_random", "plan_swarm"]

CONFIGS: dict[str, float] = {
    "4k@delalloc": 20, "4k@nodelalloc": 10, "1k@delalloc": 14, "1k@nodelalloc": 8,
    "bigalloc16k@delalloc": 13, "bigalloc16k@nodelalloc": 4, "bigalloc64k@delalloc": 2,
    "1kbigalloc8k@delalloc": 3, "2k@delalloc": 2, "small4k@delalloc": 5, "small4k@nodelalloc": 2,
    "quota4k@delalloc,usrquota": 6, "quota4k@nodelalloc,usrquota": 4, "ext3ish@delalloc": 3,
    "ext3ish@nodelalloc": 2, "inline@delalloc": 4, "inline@nodelalloc": 2,
    "4k@delalloc,dioread_lock": 3, "1k@delalloc,dioread_lock": 2, "4k@data=journal": 2,
    "inline@data=journal": 1, "nojournal@delalloc": 3, "nocsum4k@delalloc": 1,
    "4k@delalloc,data=writeback": 1, "2k@nodelalloc": 2, "quotabig16k@delalloc,usrquota": 3,
    "quotabig16k@nodelalloc,usrquota": 2,
}  # fmt: skip
"""How often each configuration is chosen where the user names none."""

FEATURES: dict[str, dict[str, float]] = {
    "write": {"pwrite": 14, "append": 4},
    "fault": {"pwrite_fault": 10, "pwritev": 4},
    "read": {"pread": 3, "seek": 1.5},
    "map": {"mwrite": 5, "mwrite_in": 2, "mwrite_msync": 1.5},
    "direct": {"dwrite": 4},
    "allocate": {"falloc": 5, "falloc_keep": 4, "write_zeroes": 0.3},
    "punch": {"fpunch": 6},
    "zero": {"fzero": 4, "fzero_keep": 2},
    "shift": {"fcollapse": 2.5, "finsert": 2.5},
    "size": {"truncate": 7, "otrunc": 0.7},
    "flush": {"fsync": 5, "fdatasync": 2, "sync_range": 3, "sync": 2},
    "synchronous": {"pwrite_osync": 1.2, "pwrite_odsync": 1.2},
    "cache": {"drop_caches": 2, "remount": 1.5},
    "names": {"close": 1.5, "unlink": 0.8, "rename": 1.2},
    "copy": {"copy_range": 2, "sendfile": 1, "splice": 1},
    "limit": {"rlimit_write": 1.5},
    "options": {"remount_opts": 0.8},
    "flags": {"setflags": 0.6},
    "end": {"shutdown": 2},
    "threads": {"parallel": 0.12},
    "user": {"user_write": 14, "quota_set": 2, "chown": 1.5},
}
"""Operations by feature, each with its weight. `swarm` leaves features out, never single
operations; `user` is for file systems with quota, the others for all."""

SETTINGS: dict[str, float] = {"plain": 75, "full": 12, "low": 7, "many": 5, "crowd": 1}
"""How often each setting is chosen where the configuration allows it.

`plain` files on an empty disk; `full` all but a few clusters taken; `low` a small disk and
large writes, so that delayed blocks become a large part of what is free; `many` extents,
small and apart; `crowd` many files of a few extents each, before the disk fills up: their
trees want blocks that are not there (on the largest clusters, where that takes fewest)."""

CROWDED = "bigalloc64k@delalloc"
_NO_SPACE_GAMES = ("ext3ish", "nojournal")


class Plan(msgspec.Struct, frozen=True):
    """`operations` are words of the text form; `files` how many files take part; `size`
    replaces the image's (bytes)."""

    config: Config
    size: int | None
    setting: str
    operations: Table[str]
    files: int
    length: int


@functools.cache
def _weights(image: str) -> dict[str, dict[str, float]]:
    """The features that make sense on `image`."""
    left = dict(FEATURES)
    if not image.startswith("quota"):
        del left["user"]
    return left


@functools.cache
def _usual(image: str) -> Table[str]:
    features = _weights(image)
    return Table({word: weight for words in features.values() for word, weight in words.items()})


@functools.cache
def _configs() -> Table[str]:
    return Table(CONFIGS)


@functools.cache
def _settings() -> Table[str]:
    return Table(SETTINGS)


_config = functools.cache(config_of)

SMALL = 16 * 1024 * 1024
"""Bytes of the disk in all settings but `plain` and `many`."""


def _where(dice: Dice, name: str | None) -> tuple[Config, int | None, str]:
    """Configuration, the disk's size where it is not the usual one, and setting."""
    config = _config(name or dice.choose(_configs()))
    setting = dice.choose(_settings())
    if setting == "crowd" and (name is None or name == CROWDED):
        return _config(CROWDED), SMALL, setting
    if setting in ("full", "low", "crowd"):
        if config.image.name in _NO_SPACE_GAMES or setting == "crowd":
            return config, None, "plain"
        if config.image.size > SMALL:
            return config, SMALL, setting
    return config, None, setting


def plan_random(dice: Dice, config: str | None, length: int) -> Plan:
    """Every operation that the configuration has, by its weight."""
    chosen, size, setting = _where(dice, config)
    return Plan(chosen, size, setting, _usual(chosen.image.name), _files(dice, setting), length)


def plan_swarm(dice: Dice, config: str | None, length: int) -> Plan:
    """Some features only, each with a weight of its own, and at least one that writes."""
    chosen, size, setting = _where(dice, config)
    features = _weights(chosen.image.name)
    kept = [name for name in features if dice.random() < 0.4]
    kept.append(dice.pick(("write", "fault", "map", "allocate", "write")))
    weights: dict[str, float] = {}
    for name in dict.fromkeys(kept):
        factor = 0.25 + 2 * dice.random()
        weights.update({word: weight * factor for word, weight in features[name].items()})
    return Plan(chosen, size, setting, Table(weights), _files(dice, setting), length)


def _files(dice: Dice, setting: str) -> int:
    return 5 + dice.below(3) if setting == "crowd" else 1 + (dice.random() < 0.35)
