"""Writing a file so that it is there whole or, if that fails, as it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from workloads.host_files import refuse_disk

__all__ = ["write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """Make `content` (text as UTF-8) that of the file `path`; a reader sees the old or the new.

    What is no regular file (a terminal, a pipe) is written to, but no disk. Raises `OSError`;
    then `path` is what it was, and nothing else is left.
    """
    data = content.encode() if isinstance(content, str) else content
    refuse_disk(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    target = path.resolve()  # what a symbolic link names is replaced, not the link
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
