"""The process that collects quota warnings in the guest: started in time, late, broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.agent.quota import QuotaWarnings


def listener(folder: Path, commands: str) -> str:
    """A program that stands for the guest's Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    return str(path)


def test_what_it_tells_after_its_start_are_the_warnings(tmp_path: Path) -> None:
    program = listener(
        tmp_path, "echo ready; /bin/sleep 0.2; echo one; echo two; exec /bin/sleep 9"
    )
    warnings = QuotaWarnings(20, program)
    try:
        assert warnings.drain() == ["one", "two"]
        assert warnings.drain() == []
    finally:
        warnings.close()


def test_one_that_is_not_ready_in_time_is_late(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"not ready after 0\.1 s"):
        QuotaWarnings(0.1, listener(tmp_path, "exec /bin/sleep 9"))


@pytest.mark.parametrize("commands", ["exit 1", "echo other; exec /bin/sleep 9"])
def test_one_that_ends_or_says_something_else_is_not_late(tmp_path: Path, commands: str) -> None:
    with pytest.raises(OSError, match="ended at once") as error:
        QuotaWarnings(20, listener(tmp_path, commands))
    assert not isinstance(error.value, TimeoutError)
