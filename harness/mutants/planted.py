"""A mutant in place: the functions of the running model with its change.

Only for a process that ends afterwards; there is no way back.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
from types import CodeType, FunctionType
from typing import Any

from harness.mutants.listing import Function, Mutant, tree_of
from harness.mutants.operators import changed
from harness.probe import MODEL

__all__ = ["plant"]


def plant(mutant: Mutant) -> None:
    """Make the model that runs in this process `mutant`.

    Whoever holds the function holds its new code; what it had cached is forgotten.
    """
    function = mutant.function
    tree = changed(tree_of(function.module), function.place, mutant.change)
    whole = compile(tree, str(MODEL / f"{function.module}.py"), "exec", dont_inherit=True)
    _function(function).__code__ = _code(whole, function.name)
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            each.cache_clear()


def _function(function: Function) -> FunctionType:
    """The function in the running model."""
    found: Any = importlib.import_module(f"model.{function.module}")
    for part in function.name.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    found = getattr(found, "__func__", found)  # a classmethod's or staticmethod's
    found = inspect.unwrap(found)
    if not isinstance(found, FunctionType):
        raise TypeError(f"{function.full} is no function but {found!r}")
    return found


def _code(whole: CodeType, name: str) -> CodeType:
    for part in name.split("."):
        whole = next(
            code for code in whole.co_consts if isinstance(code, CodeType) and code.co_name == part
        )
    return whole
