"""Runs a program in the guest, on its own: not as part of a workload."""

from __future__ import annotations

import base64
import os
import signal
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    Row = dict[str, Any]

__all__ = ["run_program"]

FOLDER = "/tmp"
LONGEST = 16 << 20
"""Bytes of output that are kept."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C"}


def run_program(request: Row, folder: str = FOLDER) -> Row:
    """Run `argv` in `folder`, where `files` (by name, base64) were put as executables.

    Its `status` is None if it was killed after `seconds`, with all that it started;
    `output` is what it wrote to stdout and stderr, `cut` tells that some of it is missing.
    A program that can't be run has status 127. It runs as an ordinary process: the agent's
    own priority is not inherited.
    """
    for name, data in request["files"].items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(base64.b64decode(data))
        os.chmod(f"{folder}/{name}", 0o755)
    with open(f"{folder}/.output", "w+b") as output:  # a pipe would wait for grandchildren
        try:
            status = _status(request, folder, output)
        except OSError as error:  # as a shell says it
            status = 127
            output.write(f"{request['argv'][0]}: {error.strerror}\n".encode())
        output.seek(0)
        data = output.read(LONGEST + 1)
    for name in request["files"]:
        os.unlink(f"{folder}/{name}")
    text = data[:LONGEST].decode("utf-8", "replace")
    return {"status": status, "output": text, "cut": len(data) > LONGEST}


def _status(request: Row, folder: str, output: IO[bytes]) -> int | None:
    """Run the program; its exit status, or None if it had to be killed."""
    process = subprocess.Popen(
        request["argv"], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        cwd=folder, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(request["seconds"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
