"""Small mistakes: what may be changed in a function's syntax tree, one change at a time.

Left alone is what no trace shows: docstrings, annotations, the words of errors and reports.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

__all__ = ["KINDS", "Change", "changed", "changes_of"]

Place = tuple[tuple[str, int | None], ...]
"""The way from a tree to a node of it: fields, with an index where the field is a list."""


class Change(msgspec.Struct, frozen=True):
    """One mistake: the expression or statement `before`, on lines `line` to `end`, becomes
    `after`."""

    kind: str
    line: int
    end: int
    before: str
    after: str
    place: Place
    variant: int

    @property
    def text(self) -> str:
        """The change in a line."""
        return f"{self.kind}: {_short(self.before)} -> {_short(self.after)}"


def _short(text: str) -> str:
    line = text.splitlines()[0] + (" ..." if "\n" in text else "")
    return line if len(line) <= 72 else f"{line[:69]}..."


# --- the operators ------------------------------------------------------------------------

_BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
_CALLS = {
    "round_up": "round_down", "round_down": "round_up", "min": "max", "max": "min",
    "any": "all", "all": "any",
}  # fmt: skip
_ERRNO = {"ENOSPC": "EDQUOT", "EINVAL": "EFBIG"}
_SAYS = {"rule", "quirk", "unpredicted", "leave_open"}
"""Methods whose only effect is on what reports say, and on known issues' names."""
_ERRORS = {"NotModelledError", "MachineryError", "UsageError", "AssertionError", "ValueError"}


def _boundary(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _BOUNDARY:
        yield ast.Compare(node.left, [_BOUNDARY[type(node.ops[0])]()], node.comparators)


def _condition(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        for index in range(len(node.values)):
            kept = [*node.values[:index], *node.values[index + 1 :]]
            yield kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.If | ast.IfExp) and isinstance(node.test, ast.Name | ast.Attribute):
        test = ast.UnaryOp(ast.Not(), node.test)
        if isinstance(node, ast.If):
            yield ast.If(test, node.body, node.orelse)
        else:
            yield ast.IfExp(test, node.body, node.orelse)


def _arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
        one = isinstance(node.right, ast.Constant) and node.right.value == 1
        if one and isinstance(node.op, ast.Add | ast.Sub):
            yield node.left


def _rounding(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        down = ast.BinOp(ast.UnaryOp(ast.USub(), node.left), ast.FloorDiv(), node.right)
        yield ast.UnaryOp(ast.USub(), down)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name == "ceil_div":
            yield ast.BinOp(node.args[0], ast.FloorDiv(), node.args[1])
        elif name in _CALLS:
            yield ast.Call(ast.Name(_CALLS[name], ast.Load()), node.args, node.keywords)


def _counter(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.AugAssign):
        if type(node.op) in _ARITHMETIC:
            yield ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value)
        yield ast.Pass()


def _missing(node: ast.AST) -> Iterator[ast.AST]:
    """A call for its effect, or an assignment to what outlives the function, left out."""
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    kept = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)
    if (call or kept) and "super()" not in ast.unparse(node):
        yield ast.Pass()


def _constant(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield ast.Constant(node.value + 1)


def _errno(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return
    if node.func.id == "OpError" and isinstance(node.args[0], ast.Constant):
        name = _ERRNO.get(str(node.args[0].value), "EINVAL")
        yield ast.Call(node.func, [ast.Constant(name), *node.args[1:]], node.keywords)


KINDS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    "boundary": _boundary, "condition": _condition, "arithmetic": _arithmetic,
    "rounding": _rounding, "counter": _counter, "missing": _missing, "constant": _constant,
    "errno": _errno,
}  # fmt: skip
"""Each kind of mistake, and what it makes of a node."""


# --- where --------------------------------------------------------------------------------


def changes_of(function: ast.FunctionDef | ast.Assign) -> Iterator[Change]:
    """Every change that can be made in `function`, or in the value of a constant, in its order."""
    for place, node in _walk(function, ()):
        for kind, made in KINDS.items():
            for variant, new in enumerate(made(node)):
                line = getattr(node, "lineno", function.lineno)
                end = getattr(node, "end_lineno", None) or line
                texts = (ast.unparse(node), ast.unparse(new))
                yield Change(kind, line, end, *texts, place, variant)


def _walk(node: ast.AST, place: Place) -> Iterator[tuple[Place, ast.AST]]:
    for field, value in ast.iter_fields(node):
        if not place and field not in ("body", "value"):  # arguments, annotations, decorators
            continue
        if field in ("annotation", "args") and isinstance(value, ast.expr | ast.arguments):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                way = (*place, (field, index))
                yield way, child
                yield from _walk(child, way)


def _is_left_alone(node: ast.AST) -> bool:
    """Docstrings, and what only reports show, with the condition for it."""
    if isinstance(node, ast.If) and not node.orelse:
        return all(_is_left_alone(each) for each in node.body)
    if isinstance(node, ast.Assert | ast.JoinedStr | ast.FunctionDef | ast.Nonlocal):
        return isinstance(node, ast.Assert | ast.JoinedStr)
    call = node.value if isinstance(node, ast.Expr) else node
    if isinstance(call, ast.Constant):
        return isinstance(node, ast.Expr)
    if not isinstance(call, ast.Call):
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else None
    error = call.func.id if isinstance(call.func, ast.Name) else None
    return name in _SAYS or error in _ERRORS


def changed(function: ast.FunctionDef | ast.Assign, change: Change) -> ast.stmt:
    """A copy of `function` with `change` made in it; lines stay."""
    whole = copy.deepcopy(function)
    way = change.place
    node = _at(whole, way)
    new = list(KINDS[change.kind](node))[change.variant]
    ast.copy_location(new, node)
    field, index = way[-1]
    parent = _at(whole, way[:-1])
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return ast.fix_missing_locations(whole)


def _at(node: Any, way: Place) -> Any:
    for field, index in way:
        node = getattr(node, field)
        node = node if index is None else node[index]
    return node
