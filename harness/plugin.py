"""The pytest plugin: pytest is the engine that selects, runs, repeats and reports.

`pytest -p harness.plugin workloads/catalogue` and `ext4diff differential` are the same.
Each process (each worker of pytest-xdist, too) has a pair of sides of its own, so that
there is one guest per worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _pytest.outcomes import Exit  # pytest.exit.Exception, with its type

from harness.artifacts.artifact import FOLDER, results_folder
from harness.collector import collect_seldom
from harness.errors import INTERRUPTED, Ext4diffError
from harness.generated import EXHAUSTIVE, Batch, batches_of
from harness.interrupt import interrupt_on_termination
from harness.items import GeneratedFolder, WorkloadFile, WorkloadItem
from harness.lab import LAB, Lab
from harness.options import (
    add_against,
    add_guest_options,
    add_limits,
    add_record,
    choice_of,
    pin_kernels,
)
from harness.pairs import make_pair
from harness.reporter import ATTACHED, RECORDED, Reporter
from harness.sides.side import Choice
from workloads.files import CATALOGUE
from workloads.generate import KINDS
from workloads.syntax import SUFFIX

BATCHES = pytest.StashKey[list[Batch]]()
"""The generated programs that the options ask for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a differential run."""
    group = parser.getgroup("ext4diff", "ext4 model and kernels, compared")
    add_guest_options(group.addoption)
    add_against(group.addoption)
    group.addoption(
        "--on", metavar="CONFIG", action="append", default=[],
        help="run only this configuration (image@mount; * and ? match), may be repeated",
    )  # fmt: skip
    group.addoption(
        "--short", action="store_true",
        help="run each program on the first of its selected configurations only",
    )  # fmt: skip
    for kind in KINDS:
        group.addoption(
            f"--{kind}", metavar="SEED:COUNT", action="append", default=[],
            help=f"run {kind} programs 0 to COUNT-1 of SEED (or SEED:FIRST:END)",
        )  # fmt: skip
    group.addoption(
        "--exhaustive", metavar="FIRST:END", action="append", default=[],
        help="run these exhaustive programs; all: those of one and two operations",
    )  # fmt: skip
    add_limits(group.addoption)
    add_record(group.addoption)
    group.addoption("--results", metavar="DIR", help=f"where to keep results ({FOLDER}/TIME)")
    group.addoption("--catalogue", action="store_true", help="without paths, run the catalogue")


# --- set-up and end ---------------------------------------------------------------------


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _has_workers(config: pytest.Config) -> bool:
    return not _is_worker(config) and config.getoption("dist", "no") != "no"


def _results_folder(config: pytest.Config) -> Path:
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None:
        return Path(worker["ext4diff_results"])
    return results_folder(config.getoption("results"))


def _choice(config: pytest.Config) -> Choice:
    choice = choice_of(config.option)
    if _is_worker(config):  # the process that started the workers has refreshed the cache
        return dataclasses.replace(choice, refresh=False)
    return choice


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the sides and, where workloads will run, prepare them."""
    if config.option.help or config.option.version:
        return
    if config.getoption("catalogue") and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [] if _asks_for_generated(config) else [str(CATALOGUE)]
    try:
        folder = _results_folder(config)
        if _is_worker(config):
            collect_seldom()
        else:
            config.pluginmanager.register(Reporter(config, folder), "ext4diff-reporter")
            interrupt_on_termination()
        if _has_workers(config) and not config.option.collectonly:
            pin_kernels(config.option)  # workers get these options
        strict = config.getoption("strict_model")
        pair = make_pair(config.getoption("against"), _choice(config), strict=strict)
        lab = Lab(pair, folder, config.getoption("on"), short=config.getoption("short"))
        config.stash[BATCHES] = _batches(config)
        config.stash[LAB] = lab
        if not config.option.collectonly:
            lab.prepare()
        if _has_workers(config):
            lab.close()  # the workers have guests of their own
    except Ext4diffError as error:
        config.pluginmanager.unregister(name="terminalreporter")  # else it repeats the error
        raise _Ended(str(error), error.exit_status) from None
    except KeyboardInterrupt:  # while packages are fetched, or a guest boots for the first time
        config.pluginmanager.unregister(name="terminalreporter")
        raise _Ended("interrupted", INTERRUPTED) from None


class _Ended(Exit):
    """The end of a run that did not begin. pytest prints `NAME: MESSAGE`."""


_Ended.__name__ = "ext4diff"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the guests before xdist hears that this worker is done: it interrupts one that takes
    seconds to end after that."""
    pytest_unconfigure(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the guests, also if no session has begun."""
    lab = config.stash.get(LAB, None)
    if lab is not None:
        lab.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where results go."""
    node.workerinput["ext4diff_results"] = str(node.config.stash[LAB].results)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What runs where, before anything does."""
    lab = config.stash.get(LAB, None)
    return lab.pair.header() if lab is not None and lab.prepared else []


# --- items ------------------------------------------------------------------------------


def _asks_for_generated(config: pytest.Config) -> bool:
    return any(config.getoption(kind) for kind in (*KINDS, EXHAUSTIVE))


def _batches(config: pytest.Config) -> list[Batch]:
    """What `--random`, `--swarm` and `--exhaustive` ask for. Raises `UsageError`."""
    return batches_of(config.getoption("on"), vars(config.option))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the generated programs, before others select."""
    for batch in config.stash.get(BATCHES, []):
        folder = GeneratedFolder.from_parent(
            session, name=batch.folder, nodeid=batch.folder, batch=batch
        )
        items += session.genitems(folder)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> WorkloadFile | None:
    """Collect workload files."""
    if file_path.suffix == SUFFIX and LAB in parent.config.stash:
        return WorkloadFile.at(parent, file_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the digest to the report that decides the item: a failed set-up, or the call."""
    report = yield
    if isinstance(item, WorkloadItem) and (call.when == "call" or report.failed):
        error = None
        if call.excinfo is not None and item.unforeseen(call.excinfo.value):
            error = f"a fault of ext4diff itself, {call.excinfo.typename}: {call.excinfo.value}"
        elif call.excinfo is not None and call.when == "setup":
            report.longrepr = str(call.excinfo.value)  # pytest asks repr_failure of calls only
        vars(report)[ATTACHED] = msgspec.to_builtins(item.digest(error))
        vars(report)[RECORDED] = item.recorded
    return report
