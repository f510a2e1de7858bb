"""Packages that only some commands need: the extras of pyproject.toml."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError

__all__ = ["require"]


def require(purpose: str, modules: Sequence[str]) -> None:
    """Raises `UsageError`, with the command that installs them, unless all `modules` are here;
    `purpose` says what needs them: `a campaign`."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        top = Path(__file__).parent.parent
        ours = f"-e '{top}[campaign]'" if (top / "pyproject.toml").is_file() else _PUBLISHED
        raise UsageError(
            f"{purpose} needs {' and '.join(missing)}; run: {sys.executable} -m pip install {ours}"
        )


_PUBLISHED = "'ext4diff[campaign]'"
"""What pip installs where this is no source tree."""
