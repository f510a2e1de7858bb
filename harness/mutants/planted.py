"""A mutant in place: the functions of the running model with its change.

Only for a process that ends afterwards; there is no way back.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from harness.coverage.probe import MODEL
from harness.mutants.listing import Function, Mutant, functions, tree_of
from harness.mutants.operators import changed

__all__ = ["plant"]


def plant(mutant: Mutant) -> None:
    """Make the model that runs in this process `mutant`.

    Whoever holds the function holds its new code; what it had cached is forgotten.
    """
    function = mutant.function
    new = changed(function.node, mutant.change)
    if function.is_constant:
        _set_constant(function, new)
    else:
        _function(function).__code__ = _code(function, new)
    for cached in _cached():
        cached.cache_clear()


def _modules() -> dict[str, ModuleType]:
    return {
        name: importlib.import_module(f"model.{name}")
        for name in dict.fromkeys(each.module for each in functions())
    }


def _cached() -> Iterator[Any]:
    """What of the model remembers its results."""
    for module in _modules().values():
        for value in vars(module).values():
            members = vars(value).values() if isinstance(value, type) else ()
            for each in (value, *members):
                if hasattr(each, "cache_clear"):
                    yield each


def _set_constant(function: Function, new: ast.stmt) -> None:
    """Give it its new value wherever the model has imported it."""
    modules = _modules()
    module = modules[function.module]
    assert isinstance(new, ast.Assign)
    value = eval(compile(ast.Expression(new.value), str(module.__file__), "eval"), vars(module))
    for user, other in modules.items():
        if other is module or _imports(user, function):
            setattr(other, function.name, value)


def _imports(user: str, constant: Function) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == f"model.{constant.module}"
        and constant.name in {alias.name for alias in node.names}
        for node in tree_of(user).body
    )


def _function(function: Function) -> FunctionType:
    """The function in the running model."""
    found: Any = _modules()[function.module]
    for part in function.name.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    found = getattr(found, "__func__", found)  # a classmethod's or staticmethod's
    found = inspect.unwrap(found)
    if not isinstance(found, FunctionType):
        raise TypeError(f"{function.full} is no function but {found!r}")
    return found


def _code(function: Function, new: ast.stmt) -> CodeType:
    """The code of `new`, compiled where it stands: in its class, if it has one."""
    future = ast.parse("from __future__ import annotations").body[0]
    *classes, _ = function.name.split(".")
    for name in reversed(classes):
        holder = ast.parse(f"class {name}: pass").body[0]
        assert isinstance(holder, ast.ClassDef)
        holder.body = [new]
        new = holder
    path = str(MODEL / f"{function.module}.py")
    code = compile(ast.Module([future, new], []), path, "exec", dont_inherit=True)
    for part in function.name.split("."):
        code = next(
            each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == part
        )
    return code
