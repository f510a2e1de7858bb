"""docs/semantics.md held against the model, the catalogue and the recordings.

No rule names a function or a program that does not exist or does not do what the rule is
about; no rule string, public function or catalogue program is missing from it.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest
from modelled import RECORDINGS

from harness.recording import geometry_of, raw_lines, recorded_by, trace_of
from harness.trace import Extent, Placement, State, Trace, placement_of
from model import QUIRKS, Behaviour, Model
from workloads.files import catalogue
from workloads.images import IMAGES, Geometry, Image
from workloads.program import Program
from workloads.syntax import parse_line, workloads
from workloads.workload import Workload

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "model"
TEXT = (ROOT / "docs" / "semantics.md").read_text()
FIELDS = ("kernel", "model", "workloads", "reports")
PROGRAMS = {program.name: program for program in catalogue()}

FREE = {
    "4k": 14327, "1k": 41950, "2k": 21999, "bigalloc16k": 15084, "bigalloc64k": 15216,
    "1kbigalloc8k": 43472, "nocsum4k": 14327, "nojournal": 15351, "ext3ish": 14326,
    "inline": 14328, "small4k": 2807, "quota4k": 14325,
}  # fmt: skip
"""f_bfree of each image after mke2fs."""


class Example(NamedTuple):
    """A program that a rule names: of the catalogue, a recording or written out."""

    text: str
    iomap: bool


class Rule(NamedTuple):
    """One `###` section."""

    name: str
    words: str
    kernel: tuple[str, ...]
    model: tuple[str, ...]
    workloads: tuple[Example, ...]
    reports: tuple[str, ...]


class Ran(NamedTuple):
    """Runs of the model: functions used as `module.qualified.name`, rule strings, traces."""

    functions: frozenset[str]
    reports: frozenset[str]
    traces: tuple[Trace, ...]


OTHER = {
    "iomap": False, "da_map_sets_new": False, "eof_zero_flush": "truncate_down",
    "write_ends_at_fault": True, "zero_range_edges_first": True, "max_folio": 4096,
    "nr_cpu": 8, "max_zeroout_kib": 0, "readahead": 4096, "cyclic_sync": True,
}  # fmt: skip
"""For each switch a value that is not the default."""


# --- the page -----------------------------------------------------------------------------


def _rule(section: str) -> Rule:
    title, _, body = section.partition("\n")
    words, *lines = re.split(r"^- (?=\w+: )", body.partition("\n## ")[0], flags=re.MULTILINE)
    fields = dict(line.strip().split(": ", 1) for line in lines)
    assert list(fields) == [name for name in FIELDS if name in fields], title
    quoted = {name: tuple(re.findall(r"`([^`]+)`", fields.get(name, ""))) for name in FIELDS}
    examples = tuple(
        Example(text, iomap=bool(mark))
        for text, mark in re.findall(r"`([^`]+)`( \(iomap\))?", fields.get("workloads", ""))
    )
    return Rule(
        title.strip("`"), words.strip(), quoted["kernel"], quoted["model"], examples,
        quoted["reports"],
    )  # fmt: skip


def _helpers() -> list[str]:
    section = TEXT.partition("\n## Helpers\n")[2]
    rows = re.findall(r"^\| (.*?) \| .+ \|$", section, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`/]+)`", row)]


RULES = [_rule(section) for section in TEXT.split("\n### ")[1:]]
BY_NAME = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


# --- what runs ----------------------------------------------------------------------------


def _geometry(image: Image) -> Geometry:
    name = image.name.partition("-")[0]  # `1k-16m` is the image 1k, but of 16 MiB
    full = IMAGES[name]
    taken = full.size // full.block_size - FREE[name]
    blocks = image.size // image.block_size
    return Geometry(blocks, blocks - taken, 0, image.block_size, image.cluster_size)


def _placement(workload: Workload) -> Placement:
    """Every file contiguous and apart from the others."""
    names = sorted({getattr(op, name) for op in workload.ops for name in ("file", "to")
                    if hasattr(op, name)})  # fmt: skip
    placed: dict[str, tuple[Extent, ...]] = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << (31 + 4 * at)),)
        for at, name in enumerate(names)
    }
    return tuple(placed for _ in range(len(workload.ops) + 1))


def _observed(behaviour: Behaviour, geometry: Geometry, workload: Workload,
              placement: Placement) -> Ran:  # fmt: skip
    """Run the model and note its functions and rules."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        trace = Model(behaviour, lambda _: geometry).run(workload, placement)
    finally:
        sys.setprofile(before)
    functions = {
        f"{Path(code.co_filename).stem}.{code.co_qualname}"
        for code in codes
        if Path(code.co_filename).parent == MODEL
    }
    reports = {text for step in trace.steps for text in step.because}
    return Ran(frozenset(functions), frozenset(reports), (trace,))


def _run_program(program: Program, iomap: bool, switches: dict[str, Any]) -> Ran:
    found = []
    for workload in workloads(program):
        config = workload.config.with_options("buffered_iomap") if iomap else workload.config
        chosen = Workload(workload.program, config, workload.ops, workload.shows)
        behaviour = Behaviour(**{"iomap": iomap, **switches})
        geometry = _geometry(config.image)
        found.append(_observed(behaviour, geometry, chosen, _placement(chosen)))
    return Ran(
        frozenset().union(*(ran.functions for ran in found)),
        frozenset().union(*(ran.reports for ran in found)),
        tuple(trace for ran in found for trace in ran.traces),
    )


@cache
def _recording(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Result line and listing of each workload of a recording."""
    lines = raw_lines(RECORDINGS / f"{name}.jsonl.xz", RECORDINGS / f"{name}.workloads.json.xz")
    return {workload["name"]: (line, workload) for _, line, workload in lines}


def _recorded(text: str, iomap: bool) -> tuple[str, str] | None:
    """The recording and the first workload that `hand/NAME` or `extra/NAME` means."""
    kind, _, name = text.partition("/")
    recording = f"{'iomap' if iomap else 'bh'}-{kind}"
    for listed in _recording(recording):
        if listed == name or listed.startswith(f"{name}@"):
            return recording, listed
    return None


def _run_recorded(recording: str, name: str, switches: dict[str, Any]) -> Ran:
    kernel = recorded_by(recording)
    line, listed = _recording(recording)[name]
    seen = trace_of(line, listed, recording, kernel.release)
    standard = {"iomap": kernel.iomap, "cyclic_sync": kernel.flusher_first}
    behaviour = Behaviour(**{**standard, **switches})
    return _observed(behaviour, geometry_of(seen), seen.workload, placement_of(seen))


def _run(example: Example, **switches: Any) -> Ran:
    if ";" in example.text:
        return _run_program(parse_line(example.text, "example"), example.iomap, switches)
    if "/" in example.text:
        found = _recorded(*example)
        assert found, f"no recorded program {example.text}"
        return _run_recorded(*found, switches)
    return _run_program(PROGRAMS[example.text], example.iomap, switches)


_run_strict = cache(_run)


def _subject(rule: Rule) -> str:
    """The quirk or switch that a rule is about, named at its start."""
    return rule.words.split("`")[1]


# --- what the model has -------------------------------------------------------------------


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(MODEL.glob("*.py")):
        yield path.stem, ast.parse(path.read_text())


def _public_functions() -> set[str]:
    """Functions and methods without an underscore, as `module.function`."""
    found = set()
    for module, tree in _modules():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                found.add(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
                found |= {f"{module}.{node.name}.{method.name}" for method in methods}
    return {name for name in found if not name.rpartition(".")[2].startswith("_")}


def _rule_strings() -> set[str]:
    """What the model may pass to `Superblock.rule`; it must be spelled out there."""
    found = set()
    for module, tree in _modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "rule":
                continue
            (text,) = node.args
            assert isinstance(text, ast.Constant), f"{module}.py:{node.lineno}: no literal"
            found.add(str(text.value))
    return found


def _exists(name: str) -> bool:
    module, *parts = name.split(".")
    thing: object = importlib.import_module(f"model.{module}")
    for part in parts:
        thing = getattr(thing, part, None)
    return thing is not None


# --- tests --------------------------------------------------------------------------------


def test_rules_have_names_of_their_own() -> None:
    assert len(RULES) > 100
    assert [name for name, count in Counter(rule.name for rule in RULES).items() if count > 1] == []


@BY_NAME
def test_rule(rule: Rule) -> None:
    """It is complete, and what it names exists."""
    assert re.fullmatch(r"[a-z]+(\.[a-z-]+)+", rule.name)
    assert rule.words.endswith((".", ")"))
    assert rule.kernel, "no kernel function"
    assert all(re.fullmatch(r"\w+", name) for name in rule.kernel)
    assert rule.model, "no model function"
    assert [name for name in rule.model if not _exists(name)] == []
    assert rule.workloads, "no workload"
    for text, iomap in rule.workloads:
        written_out = ";" in text and bool(parse_line(text, "example").ops)
        recorded = "/" in text and _recorded(text, iomap) is not None
        assert written_out or recorded or text in PROGRAMS, f"no program {text}"


@BY_NAME
def test_workloads_exercise_their_rule(rule: Rule) -> None:
    """Each program runs a function of the rule; each function and string has its program."""
    quirks = frozenset({_subject(rule)} if rule.name.startswith("quirk.") else ())
    ran = {
        example: _run(example, quirks=quirks) if quirks else _run_strict(example)
        for example in rule.workloads
    }
    named = set(rule.model)
    assert [e.text for e, one in ran.items() if not named & one.functions] == []
    assert named - frozenset().union(*(one.functions for one in ran.values())) == set()
    assert set(rule.reports) - frozenset().union(*(one.reports for one in ran.values())) == set()


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_changes_what_its_workloads_show(quirk: str) -> None:
    rules = [r for r in RULES if r.name.startswith("quirk.") and _subject(r) == quirk]
    assert len(rules) == 1
    for example in rules[0].workloads:
        strict, followed = _run_strict(example), _run(example, quirks=frozenset({quirk}))
        assert not any(step.quirks for trace in strict.traces for step in trace.steps)
        assert any(quirk in step.quirks for trace in followed.traces for step in trace.steps)


@pytest.mark.parametrize("field", sorted(set(Behaviour.__struct_fields__) - {"quirks"}))
def test_a_switch_changes_what_its_workloads_show(field: str) -> None:
    rules = [r for r in RULES if r.name.startswith("switch.") and _subject(r) == field]
    assert len(rules) == 1
    value = OTHER[field]
    assert value != getattr(Behaviour(), field)
    for example in rules[0].workloads:
        usual, other = (_run(example, **{field: v}) for v in (getattr(Behaviour(), field), value))
        differs = usual.traces != other.traces
        assert differs, example.text


def test_every_string_of_a_report_belongs_to_one_rule() -> None:
    told = Counter(text for rule in RULES for text in rule.reports)
    assert sorted(told) == sorted(_rule_strings())
    assert [text for text, count in told.items() if count > 1] == []


def test_every_public_function_is_specified() -> None:
    functions, helpers = _public_functions(), _helpers()
    told = {name for rule in RULES for name in rule.model}
    excused = {
        name for name in functions for helper in helpers if fnmatchcase(name, helper)
    }  # fmt: skip
    assert sorted(functions - told - excused) == []
    assert sorted(told & excused) == [], "in a rule, so no helper"
    stale = [h for h in helpers if not any(fnmatchcase(name, h) for name in functions)]
    assert stale == []


def test_every_program_of_the_catalogue_shows_a_rule() -> None:
    told = {example.text for rule in RULES for example in rule.workloads}
    assert sorted(PROGRAMS.keys() - told) == []


def test_programs_name_rules_that_exist() -> None:
    known = {rule.name for rule in RULES}
    named = {(program.name, rule) for program in PROGRAMS.values() for rule in program.rules}
    assert [pair for pair in sorted(named) if pair[1] not in known] == []
