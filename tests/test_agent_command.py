"""The guest's request to run a program: what it gives back, run here."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

from vm.agent.command import run_program


def run(folder: Path, *argv: str, seconds: float = 20, **files: bytes) -> dict[str, Any]:
    sent = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return run_program({"argv": argv, "files": sent, "seconds": seconds}, str(folder))


def test_both_outputs_and_the_status(tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done == {"status": 7, "output": "out\nerr\n", "cut": False}


def test_files_are_executables_there_and_leave_nothing_behind(tmp_path: Path) -> None:
    assert run(tmp_path, "./it", it=b"#!/bin/sh\npwd\n")["output"] == f"{tmp_path}\n"
    assert [path.name for path in tmp_path.iterdir()] == [".output"]


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    for seconds in (0.3, 3, 30, 300):  # a busy machine takes longer to begin
        done = run(tmp_path, "sh", "-c", "echo begun; sleep 1000 & sleep 1000", seconds=seconds)
        if done["output"]:
            break
    assert (done["status"], done["output"]) == (None, "begun\n")
    assert time.monotonic() - began < 900


def test_a_signal_is_a_negative_status(tmp_path: Path) -> None:
    assert run(tmp_path, "sh", "-c", "kill -9 $$")["status"] == -9


def test_a_program_that_is_not_there_has_status_127(tmp_path: Path) -> None:
    done = run(tmp_path, "no-such-program")
    assert (done["status"], done["output"]) == (
        127, "no-such-program: No such file or directory\n"
    )  # fmt: skip
