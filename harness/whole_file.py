"""Writing a file so that it is there whole or, if that fails, as it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Make `text` (as UTF-8) the content of the file `path`; a reader sees the old or the new one.

    What is no regular file (a device, a pipe) is written to. Raises `OSError`; then `path` is
    what it was, and nothing else is left.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    target = path.resolve()  # what a symbolic link names is replaced, not the link
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
