"""Which mutants there are, which of them are taken, and the rules that they are in."""

from __future__ import annotations

import ast
import functools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness.coverage.probe import MODEL
from harness.mutants.operators import Change, changes_of
from harness.specification import specification

__all__ = ["ASIDE", "Function", "Mutant", "chosen", "functions", "mutants"]

ASIDE = ("image", "image_")
"""Modules of model/ that are no part of the write paths: reading and writing images."""
PER_RULE = 2
"""Mutants that each rule gets at least, if its functions have as many."""


class Function(msgspec.Struct, frozen=True):
    """A function, a method or a constant of the model: `module.name` and its syntax tree."""

    module: str
    name: str
    node: ast.FunctionDef | ast.Assign

    @property
    def is_constant(self) -> bool:
        """Whether it is a number that the module names."""
        return isinstance(self.node, ast.Assign)

    @property
    def full(self) -> str:
        """As rules name it."""
        return f"{self.module}.{self.name}"


class Mutant(msgspec.Struct, frozen=True):
    """The model with `change` in `function`; `name` stays the same while both do, wherever the
    line is. `rules` are those that name the function or, if none does, its callers; `lines`
    (with their modules) those in which it can show."""

    name: str
    function: Function
    change: Change
    rules: tuple[str, ...]
    lines: tuple[tuple[str, int], ...]


@functools.cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module of the model."""
    return ast.parse((MODEL / f"{module}.py").read_text("utf-8"))


@functools.cache
def functions() -> tuple[Function, ...]:
    """All functions of the model's write paths, and the constants that they mention."""
    stems = [path.stem for path in sorted(Path(MODEL).glob("*.py"))]
    found = [
        function
        for stem in stems
        if not stem.startswith(ASIDE) and stem != "__init__"
        for function in _in(stem, tree_of(stem), "")
    ]
    mentioned = _mentioned(found)
    return tuple(one for one in found if not one.is_constant or (one.module, one.name) in mentioned)


def _in(module: str, parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[Function]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef):
            yield Function(module, prefix + node.name, node)
        elif isinstance(node, ast.Assign) and not prefix and _is_number(node):
            yield Function(module, ast.unparse(node.targets[0]), node)
        elif isinstance(node, ast.ClassDef):
            yield from _in(module, node, f"{node.name}.")


def _is_number(node: ast.Assign) -> bool:
    """Whether a constant is made of numbers alone."""
    parts = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Name, ast.Load)
    return (
        isinstance(node.targets[0], ast.Name)
        and all(isinstance(part, parts) for part in ast.walk(node.value))
        and any(isinstance(getattr(part, "value", None), int) for part in ast.walk(node.value))
    )


def _lines(function: Function, change: Change) -> tuple[tuple[str, int], ...]:
    """Where a change can show: its own lines, or those that mention the constant."""
    if not function.is_constant:
        return tuple((function.module, line) for line in range(change.line, change.end + 1))
    return _constants()[function.module, function.name]


@functools.cache
def _constants() -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    return _mentioned(functions())


def _mentioned(
    among: Iterable[Function],
) -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    """Where functions mention a name of their module or one that it imports, by its own module
    and name."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for user in among:
        origins = _imported(user.module)
        whole = user.node
        body: list[ast.stmt] = whole.body if isinstance(whole, ast.FunctionDef) else [whole]
        for node in (each for part in body for each in ast.walk(part)):  # defaults stay as they are
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                origin = origins.get(node.id, user.module)
                found[origin, node.id].append((user.module, node.lineno))
    return {name: tuple(lines) for name, lines in found.items()}


@functools.cache
def _imported(module: str) -> dict[str, str]:
    """The names that `module` has from other modules of the model, with theirs."""
    return {
        alias.name: (node.module or "").removeprefix("model.")
        for node in tree_of(module).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("model.")
        for alias in node.names
    }


@functools.cache
def mutants() -> tuple[Mutant, ...]:
    """Every mutant that the operators make, in the order of files and lines."""
    rules = _rules()
    found = []
    for function in functions():
        seen = Counter[str]()
        for change in changes_of(function.node):
            seen[change.text] += 1
            again = f" ({seen[change.text]})" if seen[change.text] > 1 else ""
            name = f"{function.full}: {change.text}{again}"
            where = _lines(function, change)
            found.append(Mutant(name, function, change, rules[function.full], where))
    return tuple(found)


# --- rules --------------------------------------------------------------------------------


def _rules() -> dict[str, tuple[str, ...]]:
    """The rules that each function is in: those that name it; else its nearest callers'; of what
    only a table mentions, those of what it calls, or of its class or module."""
    named: dict[str, list[str]] = defaultdict(list)
    for rule in specification():
        for function in rule.model:
            named[function].append(rule.name)
    callers = _callers()
    called: dict[str, set[str]] = defaultdict(set)
    for one, by in callers.items():
        for caller in by:
            called[caller].add(one)
    return {
        one.full: _nearest(one.full, named, callers)
        or _nearest(one.full, named, called)
        or _of_kin(one.full, named)
        for one in functions()
    }


def _nearest(
    function: str, named: dict[str, list[str]], beside: dict[str, set[str]]
) -> tuple[str, ...]:
    """The rules of the functions that are the fewest steps away."""
    seen, now = {function}, {function}
    while now:
        rules = {rule for one in now for rule in named.get(one, ())}
        if rules:
            return tuple(sorted(rules))
        now = {other for one in now for other in beside.get(one, ())} - seen
        seen |= now
    return ()


def _of_kin(function: str, named: dict[str, list[str]]) -> tuple[str, ...]:
    family = f"{function.rpartition('.')[0]}."
    kin = [rules for one, rules in named.items() if one.startswith(family)]
    return tuple(sorted({rule for rules in kin for rule in rules}))


def _callers() -> dict[str, set[str]]:
    """By name: who mentions a function's last name. That is more than calls it, which is enough
    to say near what it is."""
    by_name: dict[str, set[str]] = defaultdict(set)
    for function in functions():
        by_name[function.name.rpartition(".")[2]].add(function.full)
    callers: dict[str, set[str]] = defaultdict(set)
    for function in functions():
        for node in ast.walk(function.node):
            word = getattr(node, "attr", None) or getattr(node, "id", None)
            for mentioned in by_name.get(str(word), ()):
                callers[mentioned].add(function.full)
    return callers


# --- the choice ---------------------------------------------------------------------------


def chosen(seed: int, everything: Iterable[Mutant]) -> list[Mutant]:
    """One mutant of each function, and `PER_RULE` of each rule, of those in `everything`.

    A function's choice depends on `seed`, its name and its own text alone.
    """
    by_function: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in everything:
        by_function[mutant.function.full].append(mutant)
    taken: dict[str, Mutant] = {}
    left: dict[str, list[Mutant]] = {}
    for full, found in by_function.items():
        left[full] = _shuffled(seed, full, found)
        first = left[full].pop(0)
        taken[first.name] = first
    count = Counter(rule for mutant in taken.values() for rule in mutant.rules)
    for rule in specification():
        spare = [one for name in rule.model for one in left.get(name, ())]
        for mutant in spare[: max(PER_RULE - count[rule.name], 0)]:
            taken[mutant.name] = mutant
    return [mutant for found in by_function.values() for mutant in found if mutant.name in taken]


def _shuffled(seed: int, full: str, found: list[Mutant]) -> list[Mutant]:
    """In an order by chance, in which kinds of mistakes take turns."""
    dice = random.Random(f"{seed} {full}")
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in dice.sample(found, len(found)):
        kinds[mutant.change.kind].append(mutant)
    rounds = max(map(len, kinds.values()))
    return [group[turn] for turn in range(rounds) for group in kinds.values() if turn < len(group)]
