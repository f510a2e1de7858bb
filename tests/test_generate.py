"""Generated programs: the same everywhere, each one that the text form can hold, and made of
everything that there is. The golden digests may change only together with `VERSION`."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from modelled import run

from harness.cli import main
from harness.errors import USAGE, UsageError
from harness.generated import Batch, chosen_configs
from workloads import generate, ops
from workloads.generate.alphabet import IDLE_AFTER, Letter, shapes
from workloads.generate.dice import Dice, Table
from workloads.generate.exhaustive import Space
from workloads.generate.plan import CONFIGS, FEATURES
from workloads.generate.sketch import CLEAN, DIRTY, HOLE, UNWRITTEN, Sketch
from workloads.program import DEFAULT_CONFIGS, Program, config_of
from workloads.syntax import format_line, format_program, parse

MANY = [generate.make(kind, 11, index) for kind in generate.KINDS for index in range(600)]
SPACE = Space(config_of("4k@delalloc"))


def digest(programs: list[Program]) -> str:
    return hashlib.sha256("".join(map(format_program, programs)).encode()).hexdigest()[:16]


# --- chance -------------------------------------------------------------------------------


def test_the_stream_of_chance_is_fixed():
    dice = Dice("golden", 1)
    assert [dice.below(1000) for _ in range(6)] == GOLDEN_DICE


def test_a_table_gives_each_thing_its_share():
    table = Table({"often": 3, "never": 0, "seldom": 1})
    dice = Dice("table")
    drawn = Counter(dice.choose(table) for _ in range(4000))
    assert set(drawn) == {"often", "seldom"}
    assert 2.6 < drawn["often"] / drawn["seldom"] < 3.4
    with pytest.raises(ValueError, match="something that can be chosen"):
        Table({"never": 0})


# --- random and swarm ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", generate.KINDS)
def test_golden_programs(kind):
    assert digest([generate.make(kind, 7, index) for index in range(50)]) == GOLDEN[kind]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_throws_the_same(version):
    """Those that are installed here; the module needs nothing but the standard library."""
    code = (
        "import runpy; dice = runpy.run_path('workloads/generate/dice.py')['Dice']('golden', 1);"
        "print([dice.below(1000) for _ in range(6)])"
    )
    try:
        done = subprocess.run(
            [f"python{version}", "-c", code],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=Path(generate.__file__).parents[2],
        )
    except OSError:
        pytest.skip(f"python{version} is not installed")
    if done.returncode and "Error" not in done.stderr:
        pytest.skip(f"python{version} does not start: {done.stderr}")
    assert done.stdout == f"{GOLDEN_DICE}\n", done.stderr


def test_a_program_does_not_depend_on_those_made_before():
    first = generate.make("random", 3, 17)
    generate.make("swarm", 1, 1)
    assert generate.make("random", 3, 17) == first
    assert generate.make("random", 3, 18).ops != first.ops
    assert generate.make("random", 4, 17).ops != first.ops


def test_programs_are_what_the_text_form_holds():
    for program in MANY:
        assert parse(format_program(program), program.name) == program


def test_programs_are_as_long_as_asked_for_and_on_one_configuration():
    usual = [program for program in MANY if len(program.ops) == generate.LENGTH]
    assert len(usual) > 0.95 * len(MANY)
    assert max(len(program.ops) for program in MANY) < 2.2 * generate.LENGTH  # a set-up of its own
    assert {len(program.configs) for program in MANY} == {1}
    short = generate.make("random", 1, 2, config="1k@nodelalloc", length=6)
    assert len(short.ops) <= 6 or short.ops[0].WORD == "falloc"
    assert short.on == ("1k@nodelalloc",)


def test_every_operation_and_configuration_is_made():
    words = {op.WORD for program in MANY for op in program.ops}
    assert words == {word for words in FEATURES.values() for word in words}
    assert words == {*ops.BY_WORD, ops.Parallel.WORD}
    assert {name for program in MANY for name in program.on} == set(CONFIGS)
    assert all(config_of(name) for name in CONFIGS)


def test_swarm_programs_differ_in_what_they_are_made_of():
    swarm = [program for program in MANY if program.name.startswith("swarm")]
    kinds = [len({op.WORD for op in program.ops}) for program in swarm]
    assert min(kinds) <= 4
    assert max(kinds) >= 15
    usual = [len({op.WORD for op in p.ops}) for p in MANY if p.name.startswith("random")]
    assert sum(kinds) / len(kinds) < sum(usual) / len(usual)


def test_offsets_land_on_edges():
    """Of the writes, many begin where an earlier operation of that file began or ended."""
    hits = total = 0
    for program in MANY:
        edges = {0}
        for op in program.ops:
            if isinstance(op, ops.Write):
                total += 1
                hits += op.off in edges
            if isinstance(op, ops.RangeOp):
                edges |= {op.off, op.off + op.len, (op.off + op.len + 4095) // 4096 * 4096}
    assert hits / total > 0.3


# --- the sketch -----------------------------------------------------------------------------


def runs(sketch: Sketch) -> list[tuple[int, int]]:
    return list(zip(sketch.at, sketch.state, strict=True))


def test_sketch_fill_cut_and_flush():
    sketch = Sketch()
    sketch.fill(4, 8, DIRTY)
    sketch.fill(6, 7, UNWRITTEN)
    assert runs(sketch) == [(0, HOLE), (4, DIRTY), (6, UNWRITTEN), (7, DIRTY), (8, HOLE)]
    sketch.flushed()
    assert runs(sketch)[1] == (4, CLEAN)
    sketch.cut(5)
    assert (runs(sketch), sketch.size) == ([(0, HOLE), (4, CLEAN), (5, HOLE)], 5)
    sketch.fill(0, 5, DIRTY)
    assert runs(sketch) == [(0, DIRTY), (5, HOLE)]


def test_sketch_shifts():
    sketch = Sketch()
    sketch.fill(0, 4, CLEAN)
    sketch.fill(4, 8, DIRTY)
    sketch.size = 8
    sketch.insert(2, 2)
    assert runs(sketch) == [
        (0, CLEAN), (2, HOLE), (4, CLEAN), (6, DIRTY), (10, HOLE)
    ]  # fmt: skip
    sketch.collapse(2, 2)
    assert [run for run in runs(sketch) if run[0] != 2] == [(0, CLEAN), (4, DIRTY), (8, HOLE)]
    assert sketch.size == 8


# --- exhaustive -----------------------------------------------------------------------------


def listed(config: str, length: int) -> list[tuple[ops.AnyOp, ...]]:
    """The space by enumeration, without its arithmetic."""
    found = []
    for shape in shapes(config_of(config)):
        for letters in itertools.product(shape.letters, repeat=length):
            pairs = itertools.pairwise(letters)
            if shape.may_begin(letters[0]) and all(b.may_follow(a) for a, b in pairs):
                over = letters[-1].ends or letters[-1].reads
                end = () if over else (shape.read,)
                found.append((*shape.made_by, *(letter.op for letter in letters), *end))
    return found


def untagged(program: Program) -> str:
    return "\n".join(format_program(program).splitlines()[2:])


def test_the_space_has_every_program_once():
    texts = [untagged(SPACE.program(index)) for index in range(sum(SPACE.counts[:2]))]
    assert len(set(texts)) == len(texts)
    assert SPACE.counts[0] == len(listed("4k@delalloc", 1))
    assert SPACE.counts[1] == len(listed("4k@delalloc", 2))


def test_programs_of_three_letters_are_where_they_should_be():
    first = sum(SPACE.counts[:2])
    want = listed("4k@delalloc", 3)
    assert SPACE.counts[2] == len(want)
    for index in (0, 1, 777, 5000, len(want) // 2, len(want) - 1):
        words = [op.WORD for op in SPACE.program(first + index).ops]
        assert words == [op.WORD for op in want[index]]
    with pytest.raises(IndexError):
        SPACE.program(len(SPACE))
    with pytest.raises(IndexError):
        SPACE.program(-1)


def test_two_letters_stay_below_what_a_night_can_run():
    for name in DEFAULT_CONFIGS:
        assert 4000 < sum(Space(config_of(name), longest=2).counts) <= 20_000


def test_golden_exhaustive_programs():
    some = [SPACE.program(index) for index in range(0, 6000, 100)]
    assert digest(some) == GOLDEN["exhaustive"]
    for program in some:
        assert parse(format_program(program), program.name) == program


def test_what_can_do_nothing_is_left_out_by_rule():
    kinds = {letter.kind for shape in shapes(config_of("4k@delalloc")) for letter in shape.letters}
    assert kinds == IDLE_AFTER.keys()
    sync, close = Letter(ops.Sync(), "flush"), Letter(ops.Close(file="a"), "close")
    mount = Letter(ops.Remount(), "mount")
    assert not sync.may_follow(sync)
    assert not sync.may_follow(mount)
    assert close.may_follow(sync)
    assert not mount.may_follow(Letter(ops.Unlink(file="a"), ends=True))


@pytest.mark.parametrize("config", ["4k@delalloc", "1k@delalloc", "bigalloc16k@delalloc"])
def test_the_mixed_shape_has_every_state(config):
    shape = shapes(config_of(config))[1]
    line = format_line(Program("shape", shape.made_by))
    trace = run(line, config)
    seen = {str(extent.state) for extent in trace.steps[-1].observation.files["a"].extents or ()}
    assert seen == {"written", "unwritten", "delayed"}


# --- batches --------------------------------------------------------------------------------


def test_batches_are_read():
    assert Batch.seeded("random", "7:200") == Batch("random", 7, 0, 200)
    assert Batch.seeded("swarm", "7:5:9").folder == "swarm/seed-7"
    assert [index for index, _ in Batch.seeded("swarm", "7:5:9").programs()] == [5, 6, 7, 8]
    assert Batch.exhaustive("all").stop == sum(SPACE.counts[:2])
    batch = Batch.exhaustive("3:5", ("2k@delalloc",))
    assert [program.on for _, program in batch.programs()] == [("2k@delalloc",)] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batch.seeded("random", "7"), "write SEED:COUNT"),
        (lambda: Batch.seeded("random", "7:9:5"), "beyond the first"),
        (lambda: Batch.seeded("random", "7:0"), "beyond the first"),
        (lambda: Batch.seeded("random", "-1:5"), "write SEED:COUNT"),
        (lambda: Batch.exhaustive("some"), "write FIRST:END"),
        (lambda: Batch.exhaustive("0:9999999"), "there are 402511 exhaustive programs"),
        (lambda: chosen_configs(("5k@x",), DEFAULT_CONFIGS), "5k@x is no configuration"),
        (lambda: chosen_configs(("5k*",), DEFAULT_CONFIGS), "no configuration matches"),
    ],
)
def test_wrong_batches_say_what_to_write(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_configurations_are_chosen_by_pattern_or_name():
    assert chosen_configs((), DEFAULT_CONFIGS) == ()
    assert chosen_configs(("1k@*",), DEFAULT_CONFIGS) == ("1k@delalloc", "1k@nodelalloc")
    assert chosen_configs(("2k@delalloc",), DEFAULT_CONFIGS) == ("2k@delalloc",)


GOLDEN_DICE = [988, 326, 494, 415, 843, 170]
GOLDEN = {
    "random": "1705b030f110d982",
    "swarm": "b2b9ae756aad53d0",
    "exhaustive": "c014a51a8dffdb32",
}


def test_a_differential_run_collects_generated_programs_by_stable_names():
    words = ["differential", "--collect-only", "-q", "--random", "7:3", "--exhaustive", "6027:6029"]
    words += ["--on", "4k@delalloc", "--on", "1k@delalloc", "-k", "not 006028"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(generate.__file__).parents[2],
    )
    items = [line for line in done.stdout.splitlines() if "::" in line]
    assert items == [
        *(
            f"random/seed-7/{n:06}::{name}"
            for n in range(2)
            for name in ("4k@delalloc", "1k@delalloc")
        ),
        "random/seed-7/000002::4k-16m@delalloc",  # on a small disk: selected all the same
        "random/seed-7/000002::1k-16m@delalloc",
        "exhaustive/006027::4k@delalloc",
        "exhaustive/006027::1k@delalloc",
    ]


def test_a_wrong_batch_ends_a_differential_run_in_one_line(capfd):
    done = main(["differential", "--random", "seven"])
    assert done == USAGE
    assert "write SEED:COUNT" in capfd.readouterr().err
