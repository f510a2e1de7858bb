"""Mutants of the model: what is made of the code, planted, and found out."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from modelled import geometry, run
from test_kept_traces import line_of, real

from harness.errors import MachineryError, UsageError
from harness.mutants import __main__ as command
from harness.mutants import hunt as hunting
from harness.mutants.cases import Case, Reach, cases_of
from harness.mutants.herd import spread
from harness.mutants.hunt import Found, hunt
from harness.mutants.listing import Function, Mutant, chosen, functions, mutants
from harness.mutants.notes import EQUIVALENT, read_equivalent, read_shown, write_shown
from harness.mutants.operators import KINDS, changes_of
from harness.mutants.planted import plant
from harness.recordings.kept_traces import TraceFile
from harness.recordings.recheck import Job
from harness.specification import specification
from model import fallocate, units
from vm.host_tools import ensure_host_tools

HERE = Path(__file__).parent
MINE = HERE / "mutants"
RECORDED = HERE / "recordings"


@pytest.fixture(scope="module", autouse=True)
def mke2fs() -> None:
    """Recorded workloads say what mke2fs left free."""
    ensure_host_tools(["mke2fs"])


def made(text: str) -> list[str]:
    """What the operators make of a function with this body."""
    tree = ast.parse(f"def f(x: int = 3):\n    'doc'\n    {text}")
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    return [change.text for change in changes_of(function)]


def mutant(name: str) -> Mutant:
    (found,) = [one for one in mutants() if one.name == name]
    return found


def in_child(work: object) -> object:
    """What `work()` returns in a process that ends with it."""
    (data,) = spread(lambda _: msgspec.msgpack.encode(work()), [0], 1)  # type: ignore[operator]
    return msgspec.msgpack.decode(data)


# --- mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("return a < b", "boundary", "a < b -> a <= b"),
        ("return a < b", "condition", "a < b -> a >= b"),
        ("return a and b", "condition", "a and b -> b"),
        ("return a or b or c", "condition", "a or b or c -> a or c"),
        ("return not a", "condition", "not a -> a"),
        ("return round_up(a, b)", "rounding", "round_up(a, b) -> round_down(a, b)"),
        ("return ceil_div(a, b)", "rounding", "ceil_div(a, b) -> a // b"),
        ("return a // b", "rounding", "a // b -> -(-a // b)"),
        ("return a - 1", "arithmetic", "a - 1 -> a"),
        ("self.free -= 7", "counter", "self.free -= 7 -> self.free += 7"),
        ("self.free -= 7", "counter", "self.free -= 7 -> pass"),
        ("inode.release(a)", "missing", "inode.release(a) -> pass"),
        ("inode.size = a", "missing", "inode.size = a -> pass"),
        ("return 7", "constant", "7 -> 8"),
        ("raise OpError('ENOSPC')", "errno", "OpError('ENOSPC') -> OpError('EDQUOT')"),
    ],
)
def test_a_mistake_of_each_kind(text: str, kind: str, wanted: str) -> None:
    assert f"{kind}: {wanted}" in made(text)


@pytest.mark.parametrize(
    "text",
    [
        "inode.sb.rule('write: f')",
        "raise NotModelledError(f'{1 + 1} files')",
        "assert a < b",
        "'x'",
    ],
)
def test_what_only_people_read_is_left_alone(text: str) -> None:
    assert made(text) == []


# --- the list -----------------------------------------------------------------------------


def test_every_rule_has_mutants_and_every_kind_of_mistake_is_made() -> None:
    taken = chosen(1, mutants())
    rules = Counter(rule for one in taken for rule in one.rules)
    assert len(taken) >= 120
    assert [rule.name for rule in specification() if rules[rule.name] < 2] == []
    assert {one.change.kind for one in taken} == set(KINDS)
    assert {one.function.full for one in taken} == {
        one.function.full for one in mutants()
    }  # one of each function at least


def test_the_choice_follows_from_the_seed() -> None:
    first = [one.name for one in chosen(1, mutants())]
    assert first == [one.name for one in chosen(1, mutants())]
    assert first != [one.name for one in chosen(2, mutants())]


def test_names_are_unique() -> None:
    assert [name for name, n in Counter(one.name for one in mutants()).items() if n > 1] == []


# --- planted ------------------------------------------------------------------------------


def test_a_planted_mutant_is_what_runs() -> None:
    one = mutant("units.round_up: rounding: -value // unit -> -(--value // unit)")

    def work() -> int:
        plant(one)
        return units.round_up(5, 4)

    assert units.round_up(5, 4) == 8
    assert in_child(work) == 4  # as round_down
    assert units.round_up(5, 4) == 8


def test_a_planted_constant_is_seen_by_who_imported_it() -> None:
    def work() -> int:
        plant(mutant("units.UNWRITTEN_MAX_LEN: constant: 32767 -> 32768"))

        return fallocate.UNWRITTEN_MAX_LEN

    assert in_child(work) == 1 + units.UNWRITTEN_MAX_LEN


def test_every_function_can_be_planted() -> None:
    """Methods, properties, class methods and nested functions, too."""

    def work() -> int:
        count = 0
        seen: set[Function] = set()
        for one in mutants():
            if one.function.full not in seen:
                seen.add(one.function.full)
                plant(one)
                count += 1
        return count

    names = {one.function.full for one in mutants()}
    assert in_child(work) == len(names) > 400
    assert len(names) <= len(functions())


# --- hunted -------------------------------------------------------------------------------


def case(line: str, config: str = "4k@delalloc") -> Case:

    return Case(f"fake:{line}", Job("fake", 1, line_of(real(line, config))))


def hunted(
    name: str, *cases: Case, tests: object = lambda: None, usual: dict[str, Reach] | None = None
) -> Found:
    def work(_: object) -> bytes:
        found = hunt(mutant(name), cases, usual or {}, tests)  # type: ignore[arg-type]
        return msgspec.json.encode(found)

    return msgspec.json.decode(next(spread(work, [0], 1)), type=Found)


def test_the_first_workload_that_differs_is_told() -> None:
    name = "first_table._truncate: missing: setattr_size(inode, op.size) -> pass"
    found = hunted(name, case("pwrite a 0 4k"), case("pwrite a 0 4k; truncate a 100; sync"))
    assert found.by == "fake:pwrite a 0 4k; truncate a 100; sync"
    assert found.how == "step 2 of 3: a size"
    assert found.tried == 2


def test_what_no_workload_shows_survives_or_fails_a_test() -> None:
    name = "first_table._truncate: missing: setattr_size(inode, op.size) -> pass"
    assert hunted(name, case("pwrite a 0 4k")).by is None
    found = hunted(name, case("pwrite a 0 4k"), tests=lambda: "test_x.py::test_y")
    assert (found.by, found.how) == ("test_x.py::test_y", "a test fails")


def test_a_mutant_that_never_ends_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunting, "SECONDS", 1)
    name = "buffer_head.generic_perform_write: counter: done += status -> pass"
    assert hunted(name, case("pwrite a 0 4k")).how == "no end within 1 s"


# --- processes ----------------------------------------------------------------------------


def test_each_piece_has_a_process_of_its_own() -> None:

    found = {int(pid) for pid in spread(lambda _: str(os.getpid()).encode(), range(5), 2)}
    assert len(found) == 5
    assert os.getpid() not in found


def test_a_process_that_dies_is_no_result() -> None:

    with pytest.raises(MachineryError, match="died with status 9"):
        list(spread(lambda _: os._exit(9), [0], 1))  # type: ignore[arg-type, return-value]


def test_who_stops_reading_ends_them_all() -> None:
    def work(item: int) -> bytes:
        if item:
            time.sleep(3600)
        return b""

    answers = spread(work, [0, 1], 2)
    next(answers)
    began = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 900


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_is_killed_leaves_no_process(number: signal.Signals) -> None:
    """What is left would keep the pipe open."""
    code = (
        "import os, time\n"
        "from harness.mutants.herd import spread\n"
        "list(spread(lambda _: os.write(1, b'.') and time.sleep(3600), [0, 1], 2))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(2) == b".."
            process.send_signal(number)
            assert process.communicate(timeout=300) == (b"", None)
        finally:
            process.kill()
    assert process.returncode == -number


# --- what is written down -----------------------------------------------------------------


def test_an_equivalent_mutant_needs_a_reason(tmp_path: Path) -> None:
    (tmp_path / EQUIVALENT).write_text("# why\n\nf: condition\n    because\n    it is\n\ng: x\n")
    with pytest.raises(UsageError, match="no reason is given for g: x"):
        read_equivalent(tmp_path)
    (tmp_path / EQUIVALENT).write_text("# why\n\nf: condition\n    because\n    it is\n")
    assert read_equivalent(tmp_path) == {"f: condition": "because it is"}


def test_what_showed_is_remembered(tmp_path: Path) -> None:
    assert read_shown(tmp_path) == {}
    write_shown(tmp_path, {"f": "x", "a": "y"})
    assert read_shown(tmp_path) == {"a": "y", "f": "x"}
    (tmp_path / "shown.json").write_text("[")
    with pytest.raises(UsageError, match="damaged"):
        read_shown(tmp_path)


def test_equivalent_mutants_exist() -> None:
    """A reason for a mutant that is not there any more says nothing."""
    names = {one.name for one in mutants()}
    assert sorted(read_equivalent(MINE).keys() - names) == []


# --- the command --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with TraceFile(tmp_path / "fake.jsonl.xz") as file:
        file.add(line_of(real("pwrite a 0 10000; truncate a 100; fsync a")))
    return tmp_path


def test_the_command_lists_survivors_with_their_rules(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(folder / "fake.jsonl.xz"), "--all", "--no-tests", "-j", "1", "--only"]
    once = [one.name for one in mutants() if one.name.startswith("first_table._collapse: ")]
    write_shown(folder, dict.fromkeys(once, "where it showed once"))
    assert command.main([*words, "first_table._collapse"]) == 1
    out = capsys.readouterr().out
    assert "SURVIVES first_table._collapse: missing" in out
    assert "falloc.collapse" in out
    assert read_shown(folder) == {}
    assert command.main([*words, "first_table._truncate: missing"]) == 0
    out = capsys.readouterr().out
    assert "| fake:example@4k@delalloc: step 2 of 3: delalloc" in out
    assert "1 of 1 found out (100.0 %), 0 equivalent" in out
    assert list(read_shown(folder).values()) == ["fake:example@4k@delalloc"]


def test_equivalent_ones_are_counted_apart_or_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = "first_table._collapse: missing"
    (name,) = [one.name for one in mutants() if one.name.startswith(start)]
    (folder / EQUIVALENT).write_text(f"{name}\n    no reason, really\n")
    words = [str(folder / "fake.jsonl.xz"), "--all", "--no-tests", "-j", "1", "--only", name]
    assert command.main(words) == 0
    assert "0 of 0 found out (100.0 %), 1 equivalent" in capsys.readouterr().out
    assert command.main([*words, "--equivalent"]) == 1
    assert "equivalent, as said: first_table._collapse" in capsys.readouterr().out


def test_those_that_are_left_can_be_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--all", "--list", "--only", "first_table._collapse: "]
    assert command.main(words) == 0
    every = [line.partition("  [")[0] for line in capsys.readouterr().out.splitlines()]
    write_shown(folder, {every[0]: "where it showed"})
    assert command.main([*words, "--left"]) == 0
    left = [line.partition("  [")[0] for line in capsys.readouterr().out.splitlines()]
    assert left == every[1:]


def test_wrong_words_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "nothing like it"]) == 2
    assert "no mutant has nothing like it" in capsys.readouterr().err
    assert command.main([str(folder / "missing.jsonl.xz")]) == 2
    assert "missing.jsonl.xz: not a readable recording: No such file" in capsys.readouterr().err


# --- the sample ---------------------------------------------------------------------------

SAMPLE = 12


def test_a_sample_of_mutants_is_found_out_where_it_was_last() -> None:
    """`tox -e mutants` tries all of them, and elsewhere too."""
    shown = read_shown(MINE)
    cases = {one.name: one for one in cases_of([RECORDED / "catalogue"])}
    known = [one for one in chosen(1, mutants()) if shown.get(one.name) in cases]
    assert len(known) > 300
    taken = random.Random(1).sample(known, SAMPLE)
    tried = {shown[one.name]: cases[shown[one.name]] for one in taken}
    usual = {
        name: Reach(b"", sum(one.job.check().not_compared.values()), agrees=True)
        for name, one in tried.items()
    }
    found = [hunted(one.name, tried[shown[one.name]], usual=usual) for one in taken]
    assert [one.mutant for one in found if one.by is None] == []


def test_the_geometry_is_that_of_tests() -> None:
    assert run("pwrite a 0 1").start.bfree == geometry(real().workload.config.image).free_blocks
