"""A series by its message id: b4 fetches the thread, and the cache keeps it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from vm import cache
from vm.apt import progress
from vm.errors import DownloadError
from vm.host_tools import missing_error
from vm.kernels.git import clean_environment

__all__ = ["fetch_series"]

_SECONDS = 300
_REASON = 120
"""Characters of b4's last line that say enough."""


def fetch_series(message_id: str, refresh: bool = False) -> Path:
    """The mbox of the series that the mail `message_id` belongs to.

    It is fetched once; `refresh` fetches it again. Raises `HostToolError` without b4 and
    `DownloadError` if b4 can't get it.
    """
    key = cache.key_of(message_id)
    if refresh:
        shutil.rmtree(cache.cache_root() / "series" / key, ignore_errors=True)
    return cache.entry("series", key, lambda into: _fetch(message_id, into)) / "series.mbx"


def _fetch(message_id: str, into: Path) -> None:
    b4 = shutil.which("b4")
    if b4 is None:
        raise missing_error(
            ["b4"], f"b4 is missing, which fetches {message_id} (an mbox needs no b4)"
        )
    progress(f"fetching the series of {message_id}")
    try:
        done = subprocess.run(
            [b4, "am", "--no-cover", "-o", str(into), "-n", "series.mbx", message_id],
            cwd=into, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _error(message_id, f"b4 did not finish within {_SECONDS} s") from None
    found = sorted(into.glob("*.mbx"))
    if done.returncode != 0 or not found:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[-1].split(" for http")[0][:_REASON] if lines else "b4 gave no reason"
        raise _error(message_id, reason)
    if found[0].name != "series.mbx":
        found[0].rename(into / "series.mbx")


def _error(message_id: str, reason: str) -> DownloadError:
    return DownloadError(
        f"cannot fetch the series of {message_id}: {reason}; check the network, or save the "
        "thread as an mbox and give that file"
    )
