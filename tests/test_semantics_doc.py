"""docs/semantics.md held against the model, the catalogue and the recordings, and
docs/determinism.md against what subjects say.

No rule names a function or a program that does not exist or does not do what the rule is
about; no rule string, public function or catalogue program is missing from it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest
from documented import DOCS, MODEL, PROGRAMS, Example, exists, known, notices, run, run_usual

from harness import specification
from harness.trace import FileObservation, Observation
from model import QUIRKS, Behaviour

TEXT = (DOCS / "semantics.md").read_text()


class Rule(NamedTuple):
    """One `###` section."""

    name: str
    words: str
    kernel: tuple[str, ...]
    model: tuple[str, ...]
    workloads: tuple[Example, ...]
    reports: tuple[str, ...]


OTHER = {
    "iomap": False, "da_map_sets_new": False, "eof_zero_flush": "truncate_down",
    "write_ends_at_fault": True, "zero_range_edges_first": True, "max_folio": 4096,
    "nr_cpu": 8, "max_zeroout_kib": 0, "readahead": 4096, "cyclic_sync": True,
    "waker_preempted": False, "metadata_writeback": True,
}  # fmt: skip
"""For each switch a value that is not the default."""


# --- the page -----------------------------------------------------------------------------


def _rule(rule: specification.Rule) -> Rule:
    examples = tuple(
        Example(text, iomap=mark == "iomap", placed=mark != "unplaced")
        for text, mark in rule.workloads
    )
    return Rule(rule.name, rule.words, rule.kernel, rule.model, examples, rule.reports)


def _helpers() -> list[str]:
    section = TEXT.partition("\n## Helpers\n")[2]
    rows = re.findall(r"^\| (.*?) \| .+ \|$", section, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`/]+)`", row)]


RULES = [_rule(rule) for rule in specification.specification()]
BY_NAME = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def _with_quirk(name: str) -> frozenset[str]:
    """The quirk, and what it shows behind."""
    return frozenset({name, QUIRKS[name].follows} - {""})


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
    assert [name for name in rule.model if not exists(name)] == []
    assert rule.workloads, "no workload"
    assert [example.text for example in rule.workloads if not known(example)] == []


@BY_NAME
def test_workloads_exercise_their_rule(rule: Rule) -> None:
    """Each program runs a function of the rule; each function and string has its program."""
    quirks = _with_quirk(_subject(rule)) if rule.name.startswith("quirk.") else frozenset()
    ran = {
        example: run(example, quirks=quirks) if quirks else run_usual(example)
        for example in rule.workloads
    }
    named = set(rule.model)
    assert [e.text for e, one in ran.items() if not named & one.functions] == []
    assert named - frozenset().union(*(one.functions for one in ran.values())) == set()
    assert set(rule.reports) - frozenset().union(*(one.reports for one in ran.values())) == set()


@pytest.mark.parametrize(
    "rule",
    [rule for rule in RULES if not rule.name.startswith(("quirk.", "switch."))],
    ids=lambda rule: rule.name,
)
def test_workloads_notice_when_the_rule_is_gone(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one of the rule's functions doing nothing, the model predicts something else."""
    blind = [example for example in rule.workloads if not notices(example, rule.model, monkeypatch)]
    assert [example.text for example in blind] == []


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_quirk_changes_what_its_workloads_show(quirk: str) -> None:
    rules = [r for r in RULES if r.name.startswith("quirk.") and _subject(r) == quirk]
    assert len(rules) == 1
    for example in rules[0].workloads:
        strict, followed = run_usual(example), run(example, quirks=_with_quirk(quirk))
        assert not any(step.quirks for trace in strict.traces for step in trace.steps)
        assert any(quirk in step.quirks for trace in followed.traces for step in trace.steps)


@pytest.mark.parametrize("field", sorted(set(Behaviour.__struct_fields__) - {"quirks"}))
def test_a_switch_changes_what_its_workloads_show(field: str) -> None:
    rules = [r for r in RULES if r.name.startswith("switch.") and _subject(r) == field]
    assert len(rules) == 1
    value = OTHER[field]
    assert value != getattr(Behaviour(), field)
    for example in rules[0].workloads:
        usual, other = (run(example, **{field: v}) for v in (getattr(Behaviour(), field), value))
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
    ours = {rule.name for rule in RULES}
    named = {(program.name, rule) for program in PROGRAMS.values() for rule in program.rules}
    assert [pair for pair in sorted(named) if pair[1] not in ours] == []


def test_determinism_tells_of_every_field_and_every_reason() -> None:
    """docs/determinism.md: what subjects see, and in which words they leave a field open."""
    page = (DOCS / "determinism.md").read_text()
    seen = {*FileObservation.__struct_fields__, *Observation.__struct_fields__} - {"files"}
    assert sorted(field for field in seen if f"`{field}`" not in page) == []
    code = "".join(
        re.sub(r"{[^}\"]+}", "X", path.read_text())
        for package in ("model", "harness", "vm")
        for path in (DOCS.parent / package).rglob("*.py")
    )
    code = re.sub(r'"\s+f?"', "", code)  # a text over two lines
    table = page.partition("| reason | when |")[2].partition("\n\n")[0]
    reasons = re.findall(r'"([^"]+)"', table)
    assert len(reasons) >= 5
    unknown = [text for text in reasons if re.sub(r"\b(N|NAME)\b", "X", text) not in code]
    assert unknown == []
