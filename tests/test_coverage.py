"""Coverage of the model and steering by it: what is reached is counted, what is new is kept,
and all rules of docs/semantics.md can be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documented import geometry
from fakes import make_workload
from modelled import run
from test_kept_traces import line_of, real

from harness.cli import main
from harness.coverage.partitions import classes, possible, result_class
from harness.coverage.probe import Probe, lines_of
from harness.coverage.reached import Coverage
from harness.coverage.steering import Corpus, steer
from harness.errors import AGREE, MACHINERY, USAGE
from harness.recordings.kept_traces import TraceFile
from harness.specification import parse_rules, specification
from model import truncate
from workloads import generate, ops
from workloads.files import catalogue
from workloads.images import IMAGES
from workloads.ops import BY_WORD
from workloads.program import Program
from workloads.syntax import parse_line, workloads

MANY = 10_000


def covered(*lines: str, config: str = "4k@delalloc") -> Coverage:
    coverage = Coverage(geometry)
    for line in lines:
        coverage.add(make_workload(line, config))
    return coverage


# --- counting -----------------------------------------------------------------------------


def test_rules_operations_and_pairs_are_counted():
    coverage = covered("pwrite a 0 8k; fpunch a 0 4k; fsync a", "pwrite a 0 1; truncate a 0")
    assert (coverage.workloads, coverage.steps) == (2, 5)
    assert coverage.operations == {"pwrite": 2, "fpunch": 1, "fsync": 1, "truncate": 1}
    assert coverage.pairs["pwrite", "fpunch"] == coverage.pairs["pwrite", "truncate"] == 1
    assert coverage.rules["punch: ext4_punch_hole"] >= 1
    reached = {rule.name: rule for rule in coverage.of_rules()}
    assert reached["falloc.punch"].reached
    assert reached["falloc.punch"].first == "example@4k@delalloc"
    assert not reached["falloc.collapse"].reached
    assert "collapse: ext4_collapse_range" in reached["falloc.collapse"].missing


def test_what_the_model_refuses_is_counted():
    coverage = covered("pwrite a 0 4k; remount_opts nonsense")
    assert sum(coverage.refused.values()) == 5  # runs of the model
    assert "nonsense" in next(iter(coverage.refused))


def test_only_what_is_new_is_told():
    coverage = Coverage(geometry)
    first = make_workload("pwrite a 0 8k; fsync a")
    assert coverage.add(first)
    assert not coverage.add(first)
    assert coverage.add(make_workload("pwrite a 0 8k; fpunch a 0 4k"))


def test_novelty_tells_combinations_and_their_order():
    coverage = Coverage(geometry)
    coverage.add(make_workload("pwrite a 0 8k; fsync a"))
    reserve, allocate = "reserve in one step: ext4_da_map_blocks", "allocate: ext4_map_blocks"
    assert (reserve, "then", allocate) in coverage.seen
    assert (allocate, "then", reserve) not in coverage.seen
    assert ("pwrite", reserve) in coverage.seen
    fresh = coverage.add(make_workload("pwrite a 0 8k; fsync a; pwrite a 8k 8k"))
    assert (allocate, "then", reserve) in fresh
    assert not any(found[0] in ("pwrite", "fsync") for found in fresh)


# --- the probe ----------------------------------------------------------------------------


class CountingProbe(Probe):
    """Counts how often it is asked about a line."""

    asked = 0

    def _line(self, *words: Any) -> Any:
        self.asked += 1
        return super()._line(*words)


def test_the_probe_sees_lines_and_stops_watching_what_it_has_seen():
    probe = CountingProbe()
    asked = []
    for _ in range(2):
        with probe.watching():
            run("pwrite a 0 8k; truncate a 4k")
        asked.append(probe.asked)
    assert asked[1] - asked[0] < asked[0]
    module = Path(truncate.__file__).stem
    assert f"{module}.setattr_size" in probe.functions
    assert f"{module}.truncate_failed_write" not in probe.functions
    ran, known = {line for name, line in probe.lines if name == module}, lines_of()[module]
    assert len(ran & known) > 10
    assert known - ran, "what nothing asked for did not run"


def test_a_debugger_is_let_go_on():
    import sys  # noqa: PLC0415

    def other(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(other)
    try:
        with Probe().watching():
            pass
        assert sys.gettrace() is other
    finally:
        sys.settrace(before)


# --- classes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "size", "expected"),
    [
        ("pwrite a 0 1", 0, {"off aligned to": "0", "off of EOF": "at EOF", "len": "2^0"}),
        ("pwrite a 4k 9k", 100, {"off aligned to": "page", "off of EOF": "past EOF"}),
        ("pwrite a 16k 9k", 99999, {"off aligned to": "cluster", "off of EOF": "below EOF"}),
        ("falloc a -1 0", 9, {"off of EOF": "negative", "len": "0"}),
        ("pwrite a 513 9", 600, {"off aligned to": "odd", "off of EOF": "in the EOF block"}),
        ("pwrite_fault a 0 8k fault=4095", 0, {"fault": "at once", "len": "2^13"}),
        ("pwrite_fault a 0 8k fault=4k", 0, {"fault": "after a page or more"}),
        ("pwrite_fault a 0 8k fault=8k", 0, {"fault": "never"}),
        ("pwritev a 0 4k,4k:0", 0, {"segs": "fault in a later one"}),
        ("rlimit_write a limit=5 0 9", 0, {"limit": "inside"}),
        ("rlimit_write a limit=5 5 9", 0, {"limit": "at or below the offset"}),
        ("rlimit_write a limit=14 5 9", 0, {"limit": "beyond"}),
        ("rename a b", 0, {"to": "another file"}),
        ("remount_opts ro", 0, {"opts": "ro"}),
        ("setflags a 0x20", 0, {"flags": "0x20"}),
    ],
)
def test_classes_of_arguments(line, size, expected):
    op = parse_line(line).ops[0]
    found = dict(classes(op, size, IMAGES["bigalloc16k"]))
    assert expected.items() <= found.items()


def test_classes_of_results():
    op = ops.Write(file="a", off=0, len=10, tag=1)
    assert [result_class(op, r) for r in (10, 3, 0, "ENOSPC")] == [
        "whole", "part", "nothing", "ENOSPC"
    ]  # fmt: skip
    assert result_class(ops.Read(file="a", off=0, len=1), "0cc175b9c0f1b6a831c399e269772661") == (
        "done"
    )
    assert result_class(ops.Sync(), 0) == "done"


def test_every_class_that_occurs_is_one_that_is_counted_as_possible():
    coverage = Coverage(geometry)
    for index in range(20):
        for workload in workloads(generate.make("random", 21, index)):
            coverage.add(workload)
    for word, argument, name in coverage.arguments:
        if word in BY_WORD and argument not in ("flags", "opts"):
            known = possible(word).arguments[argument]
            assert name in known or name in ("more", "negative"), (word, argument, name)


# --- rules ----------------------------------------------------------------------------------


def test_the_page_is_read():
    assert len(specification()) > 100
    with pytest.raises(ValueError, match=r"its lines are model"):
        parse_rules("\n### `a.b`\nWords.\n\n- model: `x`\n- kernel: `y`\n")


NEEDS_A_KERNEL = {"observe.unseen-place"}
"""Rules about what a kernel's placement lacks: the model alone has none, or a whole one."""

NEEDS_A_RACE = {
    "order of conversions: ext4_end_io_rsv_work",
    "which I/O ended last: folio_end_writeback",
}
"""Which of several I/Os ends first: the outcome of no program of the catalogue may depend on it.
tests/test_model_io_end.py has all orders, tests/test_model_held_folio.py each last one."""


def gaps_of(coverage: Coverage) -> dict[str, tuple[str, ...]]:
    """The rules that the model alone could reach and did not, each with what is missing."""
    missing = {
        rule.name: tuple(text for text in rule.missing if text not in NEEDS_A_RACE)
        for rule in coverage.of_rules()
        if not rule.reached and rule.name not in NEEDS_A_KERNEL
    }
    return {name: texts for name, texts in missing.items() if texts}


def programs_by_rule(coverage: Coverage) -> Iterator[Program]:
    """The catalogue: first those that a rule names which is not reached, at last all others."""
    left = {program.name: program for program in catalogue()}
    for rule in specification():
        for name, _ in rule.workloads:
            if name in left and not coverage.of_rules([rule])[0].reached:
                yield left.pop(name)
    yield from left.values()


def test_the_catalogue_exercises_every_rule():
    coverage = Coverage(geometry)
    for program in programs_by_rule(coverage):
        for workload in workloads(program):
            coverage.add(workload)
        if not gaps_of(coverage):
            break
    assert gaps_of(coverage) == {}


SELDOM = {
    "no tree block for a split: ext4_force_split_extent_at",
    "blocks past EOF have no room: ext4_ext_shift_extents",
    "stays immutable: ext4_ioctl_check_immutable",
    "names of the device: jbd2_journal_commit_transaction",
    "a file that was to grow: ext4_orphan_cleanup",
    "zeroout at the end of I/O: ext4_split_extent_zeroout",
    "inline data without a block: ext4_convert_inline_data_to_extent",
    "no tree block at the end of I/O: ext4_split_extent",
    "an old error is told: filemap_check_errors",
    "quota stays above 0: dquot_decr_space",
}
"""What none of the first 10,000 random programs comes to: several rare things have to meet, as
little space with blocks that wait for a commit. The catalogue has programs for each."""


def reached_by_random(count: int) -> dict[str, tuple[str, ...]]:
    """The rules that `count` random programs leave unreached, each with what is missing."""
    coverage = Coverage(geometry)
    gaps: dict[str, tuple[str, ...]] = {}
    for index in range(count):
        for workload in workloads(generate.make("random", 1, index)):
            coverage.add(workload)
        if index % 250 == 249 or index == count - 1:
            gaps = gaps_of(coverage)
            if not few_of(gaps):
                break
    return gaps


def few_of(gaps: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Those of `gaps` that random programs should not leave."""
    return {name: texts for name, texts in gaps.items() if not SELDOM.issuperset(texts)}


def test_random_programs_reach_most_rules_soon():
    assert len(reached_by_random(60)) < 30


@pytest.mark.slow
def test_random_programs_reach_every_rule_but_what_is_seldom():
    assert few_of(reached_by_random(MANY)) == {}


# --- steering -------------------------------------------------------------------------------


def steered(folder: Path, count: int, seed: int = 3) -> list[Program]:
    corpus, coverage = Corpus(folder), Coverage(geometry)
    for program in corpus.programs:
        for workload in workloads(program):
            coverage.add(workload)
    start = corpus.following(seed)
    return [found.program for found in steer(corpus, coverage, seed, start, start + count)]


def test_steering_keeps_what_is_new_and_can_be_repeated(tmp_path):
    first = steered(tmp_path / "one", 12)
    assert steered(tmp_path / "two", 12) == first
    files = sorted((tmp_path / "one").iterdir())
    assert [path.stem for path in files] == [program.name for program in first]
    text = files[0].read_text()
    assert text.startswith("# new: ")
    assert "show: steered program 0 of seed 3" in text
    again = steered(tmp_path / "one", 12)
    assert {program.name for program in again}.isdisjoint(program.name for program in first)
    assert any("made from steered-3-" in program.shows for program in (*first, *again))


def test_what_the_corpus_reaches_is_not_new_again(tmp_path):
    steered(tmp_path, 12)
    coverage = Coverage(geometry)
    corpus = Corpus(tmp_path)
    for program in corpus.programs:
        for workload in workloads(program):
            coverage.add(workload)
    for program in corpus.programs:
        for workload in workloads(program):
            assert not coverage.add(workload)


# --- the commands ---------------------------------------------------------------------------


def test_generate_prints_and_writes(tmp_path, capsys):
    assert main(["generate", "random", "--seed", "7", "--index", "3"]) == AGREE
    assert "show: random program 3 of seed 7" in capsys.readouterr().out
    words = ["generate", "exhaustive", "--index", "5:7", "-o", str(tmp_path / "out")]
    assert main(words) == AGREE
    assert len(list((tmp_path / "out").iterdir())) == 10
    assert main(["lint", str(tmp_path / "out")]) == AGREE
    assert main(["generate", "exhaustive", "--count", "--on", "4k@delalloc"]) == AGREE
    assert "6137 of 2" in capsys.readouterr().out
    assert main(["generate", "random", "--index", "0:2", "--count"]) == AGREE
    assert "2 programs, 68 operations" in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert main(["generate", "random", "-o", str(tmp_path / "file")]) == MACHINERY
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "random", "--index", "x"],
        ["generate", "random", "--index", "5:3"],
        ["generate", "random", "--length", "0"],
        ["generate", "random", "--seed", "-1"],
        ["generate", "exhaustive", "--index", "999999999"],
        ["generate", "random", "--on", "9k@delalloc"],
        ["coverage", "--random", "x"],
        ["coverage", "/nonexistent.ops"],
        ["steer", "/dev/null/x"],
    ],
)
def test_wrong_words_are_told_in_one_line(words, capsys):
    assert main(words) == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_coverage_tells_of_a_suite(tmp_path, capsys):
    path = tmp_path / "one.ops"
    path.write_text("on: 4k@delalloc\n\npwrite a 0 4k\nfsync a\n")
    assert main(["coverage", str(path)]) == AGREE
    page = capsys.readouterr().out
    assert page.startswith("1 workloads, 2 operations")
    assert "falloc.punch" in page
    assert "pwrite off of EOF: never " in page
    assert main(["coverage", "--json", str(path)]) == AGREE
    told = json.loads(capsys.readouterr().out)
    assert told["operations"]["pwrite"] == 1
    assert told["classes"]["pwrite"]["len"] == {"2^12": 1}


def test_coverage_takes_recordings_folders_and_generated_programs(tmp_path, capsys):
    (tmp_path / "one.ops").write_text("on: 4k@delalloc\n\npwrite a 0 4k\n")
    assert main(["coverage", str(tmp_path), "--random", "1:1", "--lines", "--pairs"]) == AGREE
    page = capsys.readouterr().out
    assert page.startswith("2 workloads, ")
    assert "  model/truncate.py: " in page
    assert "  pwrite: never before " in page
    with TraceFile(tmp_path / "kept.jsonl.xz") as file:
        file.add(line_of(real("pwrite a 0 10000; truncate a 100; fsync a")))
    assert main(["coverage", str(tmp_path / "kept.jsonl.xz")]) == AGREE
    assert capsys.readouterr().out.startswith("1 workloads, 3 operations")
    (tmp_path / "empty").mkdir()
    assert main(["coverage", str(tmp_path / "empty")]) == USAGE
    assert "holds no workload files" in capsys.readouterr().err


def test_steer_tells_what_it_kept_and_goes_on_from_there(tmp_path, capsys):
    words = ["steer", str(tmp_path / "corpus"), "--seed", "3", "--programs", "2"]
    assert main(words) == AGREE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"0 programs in {tmp_path / 'corpus'} reach 0 rules")
    kept = sorted(path.stem for path in (tmp_path / "corpus").iterdir())
    assert kept == [line.split(":")[0].strip() for line in lines[1:-1]]
    assert lines[-1].startswith(f"{len(kept)} of 2 were kept; {len(kept)} programs now reach ")
    assert main(words) == AGREE
    assert capsys.readouterr().out.startswith(f"{len(kept)} programs in ")


def test_a_corpus_that_can_not_be_read_is_told(tmp_path, capsys):
    (tmp_path / "bad.ops").write_text("on: 4k@delalloc\n\nfrobnicate a\n")
    assert main(["steer", str(tmp_path)]) == USAGE
    assert "frobnicate" in capsys.readouterr().err
    assert main(["steer", str(tmp_path), "--programs", "0"]) == USAGE
    assert "--programs is 1 or more" in capsys.readouterr().err
    assert main(["steer", str(tmp_path / "bad.ops")]) == USAGE
    assert "bad.ops is no folder" in capsys.readouterr().err
