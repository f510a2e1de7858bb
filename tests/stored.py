"""Rows for tests of the store and of what reads it; run as a program, a writer to be killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.campaign.store import Store
from harness.verdict import Outcome
from reports.rows import Night, Row, Spent
from reports.summary import Digest

KERNEL = "7.3.4+deb13-cloud-amd64"


def make_digest(number: int = 0, **fields: object) -> Digest:
    given: dict[str, object] = {
        "name": f"random/seed-7/{number:06}::4k@delalloc",
        "config": "4k@delalloc",
        "path": "bh",
        "outcome": Outcome.AGREE,
        "seconds": 0.25,
        "said": f"random-7-{number}@4k@delalloc: agree, 3 steps",
        "kernel": KERNEL,
        "steps": 3,
        "compared": 90,
    }
    return Digest(**{**given, **fields})  # type: ignore[arg-type]


def make_row(number: int = 0, night: str = "n1", **fields: object) -> Row:
    return Row(
        night=night,
        kind="random",
        seed=7,
        number=number,
        digest=make_digest(number, **fields),
        spent=Spent(run=0.1, model=0.05),
    )


def tell(line: str) -> None:
    """Print a line in one go, which `kill -9` does not cut; `print` may take two."""
    os.write(1, f"{line}\n".encode())


def write_until_killed(path: Path, first: int) -> None:
    """Add row after row; the number of each is told once it is kept."""
    with Store.open(path) as store:
        store.begin(Night("n1"))
        tell(f"writer {os.getpid()}")
        while True:
            store.add([make_row(first), make_row(first + 1)])
            tell(str(first + 1))
            first += 2


def serve(path: Path) -> None:
    """For each number read, a writer that begins there, until it is killed."""
    for line in sys.stdin:
        writer = os.fork()
        if writer == 0:
            write_until_killed(path, int(line))
        os.waitpid(writer, 0)
        tell("killed")


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
