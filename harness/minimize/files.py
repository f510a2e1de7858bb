"""Files of results: written whole or not at all, and errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import MachineryError
from harness.whole_file import write_whole

__all__ = ["replace_file", "writing"]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `MachineryError`: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise MachineryError(
            f"cannot write {path}: {error.strerror or error}; --results DIR chooses another place"
        ) from error


def replace_file(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, whose folder is made if need be.

    Raises `MachineryError`; the old content is left then.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
