"""Reads stores, and writes the reports that are asked for.

Imported only by `ext4diff report`: what it needs (pandas, pyarrow, jinja2) is an extra.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.artifacts.manifest import harness_version
from harness.campaign.store import Store, merge
from harness.errors import AGREE, MACHINERY, MISMATCH, MachineryError
from harness.past_run import is_run, read_run
from harness.specification import specification
from harness.verdict import Outcome
from harness.whole_file import write_whole
from reports.frames import Frames, export, frames_of
from reports.html import page
from reports.junit import junit
from reports.ktap import ktap
from reports.markdown import markdown
from reports.overview import overview
from reports.since import Since, State, since_last_night
from vm.scratch import scratch
from workloads.host_files import refuse_disk
from workloads.ops import BY_WORD

__all__ = ["report"]

_JUDGED = (Outcome.AGREE, Outcome.INTENDED, Outcome.KNOWN, Outcome.MISMATCH)
"""Outcomes of a run that compared something."""


def report(options: argparse.Namespace) -> int:
    """Write what the options of `ext4diff report` ask for; the exit status."""
    with _opened(options.stores, options.merge) as store:
        frames = frames_of(store.nights(), store.rows(), store.findings(), store.coverage())
    since = since_last_night(frames)
    for line in overview(since):
        print(line)
    for target in _write(options, frames, since):
        print(f"written: {target}")
    if options.fail_on != "nothing" and not since.count(*_JUDGED):
        return MACHINERY
    if options.fail_on == "new":
        return MISMATCH if since.of(State.NEW) else AGREE
    failed = options.fail_on == "mismatch" and since.count(Outcome.MISMATCH)
    return MISMATCH if failed else AGREE


@contextlib.contextmanager
def _opened(paths: list[Path], target: Path | None) -> Iterator[Store]:
    """The one store at `paths`, or what several are together; kept at `target` if it is given."""
    with scratch() as folder:
        stores = [
            _as_store(path, folder / f"run-{number}") if is_run(path) else path
            for number, path in enumerate(paths)
        ]
        if target is None and len(stores) == 1:
            store = Store.read(stores[0])
        else:
            store = merge(stores, target or folder / "merged")
        with store:
            yield store


def _as_store(run: Path, target: Path) -> Path:
    """A store with the results of a differential run."""
    night, rows = read_run(run)
    with Store.open(target) as store:
        store.update(night)
        store.add(rows)
    return target


def _write(options: argparse.Namespace, frames: Frames, since: Since) -> Iterator[Path]:
    """Each file that was written."""
    if options.html is not None:
        yield _text(options.html, [_page(options, frames, since)])
    for target, make in ((options.junit, junit), (options.ktap, ktap)):
        if target is not None:
            yield _text(target, make(since))
    if options.markdown is not None:
        yield _text(options.markdown, markdown(since), append=_is_summary(options.markdown))
    for form in ("parquet", "csv"):
        if getattr(options, form) is not None:
            yield from export(frames, getattr(options, form), form)
    if options.merge is not None:
        yield options.merge


def _is_summary(path: Path) -> bool:
    """Whether it is the file that GitHub shows, which steps of a job share."""
    shared = os.environ.get("GITHUB_STEP_SUMMARY")
    return shared is not None and path.absolute() == Path(shared).absolute()


def _page(options: argparse.Namespace, frames: Frames, since: Since) -> str:
    rules = [rule.name for rule in specification() if rule.reports]  # others nobody can count
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    beside = _beside(options.stores, options.html)
    words = list(BY_WORD)
    return page(frames, since, rules, words, version=harness_version(), made=made, beside=beside)


def _beside(stores: Sequence[Path], target: Path) -> str | None:
    """The folder of the artifacts as seen from the page; None if there are several."""
    folders = {(path if path.is_dir() else path.parent).resolve() for path in stores}
    if len(folders) > 1:
        return None
    found = os.path.relpath(folders.pop(), target.parent.resolve())
    return found if found.startswith(".") else f"./{found}"


def _text(target: Path, lines: Iterable[str], *, append: bool = False) -> Path:
    """Write `lines`, whole or not at all, in a new folder if need be. Raises `MachineryError`."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if append:
            refuse_disk(target)
            with target.open("ab") as file:
                file.write(data)
        else:
            write_whole(target, data)
    except OSError as error:
        raise MachineryError(f"cannot write {target}: {error.strerror or error}") from error
    return target
