"""Fixtures that several tests share."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fakes import make_workload
from toy_kernel import Toy, fake_tools
from xdist.scheduler import WorkStealingScheduling

from vm.errors import HostToolError
from vm.host_tools import ensure_host_tools
from workloads.workload import Workload

pytest_plugins = ["pytester"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts with `&` inherits that, and tests send Ctrl-C to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """What tests need of the host is there before the first of them, wherever they may."""
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        with contextlib.suppress(HostToolError):  # who needs one of them says so
            ensure_host_tools()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With -n each worker keeps to neighbours, which share what their module has prepared, and
    takes from the others when it has done them."""
    if config.getoption("dist") == "load":
        return WorkStealingScheduling(config, log)
    return None


def pytest_collection_finish() -> None:
    """What has been collected stays: look through it no more for what is to be freed, which runs
    of pytest inside of tests do several times each."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def workload() -> Workload:
    return make_workload()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def toy(own_cache: None, tmp_path: Path) -> Toy:
    """A kernel tree that is built in an instant."""
    return Toy(tmp_path / "linux")


@pytest.fixture
def toy_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The make and compilers that build the toy, first on PATH."""
    fake_tools(tmp_path / "bin", monkeypatch)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one process more than CPUs, since every fourth second of the tests is waiting."""
    return (os.cpu_count() or 1) + 1
