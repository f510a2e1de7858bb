"""`ext4diff bisect`: the commit of a kernel tree that broke a workload."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.artifacts.artifact import FOLDER, results_folder
from harness.artifacts.manifest import BISECT, FirstBad
from harness.artifacts.read import is_kept, open_artifact
from harness.bisect import Commit, Found, Judgement, bisect, repository_of
from harness.commands.run import workloads_of
from harness.errors import AGREE, INTERRUPTED, MachineryError, UsageError
from harness.examine import Examiner
from harness.options import add_against
from harness.pairs import MODEL
from harness.whole_file import write_whole
from vm import cache
from vm.kernel import pinned, resolve_kernel
from vm.kernels.config import config_key
from vm.kernels.git import Git
from vm.kernels.spec import Flavour
from workloads.workload import Workload

__all__ = ["add", "run"]

HELP = "find the commit of a kernel tree from which on a workload mismatches"
KIND = "bisect"
"""The kind of cache entry that keeps what is known of commits."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "workload", metavar="WORKLOAD|ARTIFACT",
        help="a file, or a line, as for run; or what a mismatch left, which then notes the commit",
    )  # fmt: skip
    parser.add_argument("--good", required=True, metavar="REV", help="where it agrees")
    parser.add_argument("--bad", required=True, metavar="REV", help="where it mismatches")
    parser.add_argument(
        "--tree", required=True, type=Path, metavar="DIR", help="the kernel's git; only read"
    )
    parser.add_argument("--on", action="append", default=[], metavar="CONFIG", help="image@mount")
    add_against(parser.add_argument)
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    parser.add_argument("--debug", action="store_true", help="build with lockdep, KASAN and so on")
    parser.add_argument("--config", type=Path, metavar="FILE", help="your .config to build with")
    parser.add_argument(
        "--results", metavar="DIR", help=f"where to keep mismatches (default: {FOLDER}/TIME)"
    )


def run(options: argparse.Namespace) -> int:
    """Bisect; 0 if one commit was found."""
    with contextlib.ExitStack() as stack:
        return _search(options, _asked(options, stack))


@dataclass(frozen=True)
class _Asked:
    """What is to be run; `directory` is the artifact that gets the result."""

    workloads: list[Workload]
    against: str
    strict: bool
    directory: Path | None = None


def _asked(options: argparse.Namespace, stack: contextlib.ExitStack) -> _Asked:
    """A workload, or what an artifact holds, which stays open until `stack` is unwound."""
    path = Path(options.workload)
    if not is_kept(options.workload):
        workloads = workloads_of(options.workload, options.on)
        return _Asked(workloads, options.against, options.strict_model)
    if options.on:
        raise UsageError("--on: an artifact has its own configuration")
    artifact = stack.enter_context(open_artifact(path))
    artifact.provide_start()
    manifest = artifact.manifest
    against = manifest.against if options.against == MODEL else options.against
    strict = manifest.strict or options.strict_model
    directory = artifact.directory if path.is_dir() else None
    return _Asked([artifact.workload], against, strict, directory)


def _search(options: argparse.Namespace, asked: _Asked) -> int:
    tree = options.tree.expanduser().absolute()
    good, bad = (_commit(tree, name, getattr(options, name)) for name in ("good", "bad"))
    config = options.config.expanduser().absolute() if options.config else None
    flavour = Flavour(options.debug, config=config)
    config_key(flavour)  # a file that is no configuration is no fault of a commit
    results = results_folder(options.results)
    against = _base(asked.against)
    examiner = Examiner(
        tree, flavour, against, options.accel, asked.workloads, results, asked.strict
    )
    known = _Memory(cache.cache_root() / KIND / f"{examiner.key(tree)}.json")
    try:
        with repository_of(tree) as repository:
            found = bisect(repository, good, bad, examiner.examine, tell=_tell, known=known)
    except KeyboardInterrupt:
        count = len(known)
        _tell(
            f"interrupted; {count} commit{'' if count == 1 else 's'} judged so far: the same"
            " command goes on from here"
        )
        return INTERRUPTED
    for line in _report(found, examiner):
        print(line)
    if asked.directory is not None:
        _note(found, options.good, asked.directory)
    return AGREE


def _note(found: Found, good: str, directory: Path) -> None:
    """Leave the commit in the artifact, for its mail. Raises `MachineryError`."""
    commit = found.commit
    first_bad = FirstBad(commit.sha, commit.subject, commit.author, commit.date, good, found.tested)
    try:
        write_whole(directory / BISECT, msgspec.json.encode(first_bad).decode())
    except OSError as error:
        raise MachineryError(f"cannot write {directory / BISECT}: {error.strerror}") from error
    print(f"\nnoted in {directory / BISECT}, for ext4diff mail")


def _base(against: str) -> str:
    """What `--against` names; a kernel is looked at, or built, once and not with each commit."""
    if against in ("", MODEL) or against.startswith("path:"):
        return against
    kernel = pinned(against) or against
    resolve_kernel(kernel)
    return kernel


def _tell(line: str) -> None:
    print(line, flush=True)


def _commit(tree: Path, name: str, revision: str) -> str:
    if not tree.is_dir():
        raise UsageError(f"--tree {tree}: there is no such directory")
    sha = Git(tree).commit(revision)
    if not sha:
        raise UsageError(f"--{name} {revision}: {tree} has no such commit")
    return sha


def _report(found: Found, examiner: Examiner) -> Iterator[str]:
    commit: Commit = found.commit
    yield ""
    yield f"first bad commit, after testing {found.tested}: {commit.sha}"
    yield f"  {commit.subject}"
    yield f"  {commit.author}, {commit.date}"
    yield ""
    yield examiner.explanation(commit.sha) or found.judgement.said


class _Memory(dict[str, Judgement]):
    """What is known of commits, also in a file, so that an interrupted search can go on.

    What could not be tested is forgotten: next time it may.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self.update(msgspec.json.decode(path.read_bytes(), type=dict[str, Judgement]))

    def __setitem__(self, sha: str, judgement: Judgement) -> None:
        super().__setitem__(sha, judgement)
        with cache.disk_errors(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = {name: known for name, known in self.items() if known.testable}
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(kept))
            fresh.replace(self._path)
