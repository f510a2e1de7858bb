"""The model's own tests, as a last resort: what no workload shows they may."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

__all__ = ["failing"]

_OF_THE_MODEL = ("test_model_*.py", "test_extent_tree.py", "test_indirect_tree.py")


class _First:
    """Remembers the first test that failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's outcome."""
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that does not even load."""
        if report.failed and self.name is None:
            self.name = report.nodeid


def failing(folder: Path) -> str | None:
    """The first of the model's tests in `folder` that fails in this process, None if none does."""
    files = sorted(str(file) for pattern in _OF_THE_MODEL for file in folder.glob(pattern))
    first = _First()
    own = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([*own, *files], plugins=[first])
    return first.name
