"""The command beside a finding runs its very program, as the night has run it."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from harness.campaign.night import Asked, new_night
from harness.campaign.plan import Plan, shards
from harness.generated import batches_of
from harness.trace import Observe
from reports import again as module
from reports.again import again
from reports.rows import program_key
from vm.boot import MEMORY

LINE = "series:v3.mbox on tree:~/linux against tree:~/linux, strictly, observed at the end only"
ASKED = Asked(
    Plan(6, count=8), "model", strict=False, kernel=None, accel="tcg", mirror=None,
    always_boot=False,
)  # fmt: skip


def plan_of(asked: Asked = ASKED, **fields: object) -> str:
    return new_night(msgspec.structs.replace(asked, **fields), "a line").plan


def value(command: str, option: str) -> list[str]:
    words = shlex.split(command)
    return [words[at + 1] for at, word in enumerate(words) if word == option]


@pytest.mark.parametrize("configs", [(), ("4k@delalloc",), ("1k@nodelalloc", "2k@nodelalloc")])
def test_a_seeded_program_is_the_same_one(configs: tuple[str, ...]) -> None:
    """The page gave `--on` with the configuration that the seed had chosen, which is a seed for
    another program; of an image of another size (`1k-16m@delalloc`) it was no configuration."""
    plan = msgspec.structs.replace(ASKED.plan, configs=configs)
    asked = plan_of(plan=plan)
    seen = set[str]()
    for shard in shards(plan):
        for number, program in plan.batch(shard).programs():
            (config,) = program.configs
            seen.add(config.image.name)
            key = program_key(shard.kind, shard.seed, number, "")
            command = again(asked, LINE, key, config.name)
            given = {kind: value(command, f"--{kind}") for kind in ("random", "swarm")}
            (batch,) = batches_of(value(command, "--on"), {**given, "exhaustive": []})
            assert [one for _, one in batch.programs()] == [program]
    assert any("-16m" in name for name in seen)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, ""),
        ({"strict": True}, " --strict-model"),
        ({"kernel": "tree:a b@v7.3"}, " --kernel 'tree:a b@v7.3'"),
        ({"kernel": "built:abc"}, " --kernel 'series:v3.mbox on tree:~/linux'"),
        ({"against": "path:iomap"}, " --against path:iomap"),
        ({"against": "built:abc"}, " --against 'tree:~/linux'"),
        ({"observe": Observe.END}, " --observe end"),
        ({"memory": 1024, "program_time": 90.0}, " --memory 1024 --program-time 90"),
    ],
)
def test_it_runs_as_the_night_did(fields: dict[str, object], options: str) -> None:
    plan = plan_of(**fields)
    assert again(plan, LINE, "random:6:3", "4k-16m@delalloc") == (
        f"ext4diff differential --random 6:3:4{options}"
    )


@pytest.mark.parametrize("plan", [plan_of(), "{}", "no plan"])
def test_what_no_seed_makes_needs_no_plan(plan: str) -> None:
    exhaustive = again(plan, LINE, "exhaustive:17", "1k@delalloc,buffered_iomap")
    assert exhaustive == "ext4diff differential --exhaustive 17:18 --on 1k@delalloc"
    program = "catalogue:fallocate/zero-range-over-eof.ops::4k@delalloc"
    assert again(plan, LINE, program, "4k@delalloc") == (
        "ext4diff differential -k zero-range-over-eof.ops --on 4k@delalloc"
    )


@pytest.mark.parametrize("plan", ["", "{}", "[]", '{"plan": 1}'])
def test_without_a_plan_no_seeded_program_is_named(plan: str) -> None:
    assert again(plan, LINE, "random:6:3", "4k@delalloc") == ""
    assert again(plan, LINE, "nothing", "4k@delalloc") == ""


def test_a_guest_has_that_much_memory() -> None:
    assert module.MEMORY == MEMORY
