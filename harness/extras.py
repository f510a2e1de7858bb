"""Packages that only some commands need: the extras of pyproject.toml."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from harness.errors import UsageError

__all__ = ["require"]


def require(purpose: str, modules: Sequence[str]) -> None:
    """Raises `UsageError`, with the command that installs them, unless all `modules` are here;
    `purpose` says what needs them: `a campaign`."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{purpose} needs {' and '.join(missing)}: pip install 'ext4diff[campaign]', or in"
            " a source tree pip install -e '.[campaign]'"
        )
