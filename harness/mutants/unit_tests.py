"""The model's own tests, as a last resort: what no workload shows they may.

As with workloads, a mutant can only show in a test that runs its lines.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.coverage.probe import MODEL, Probe
from harness.errors import UsageError
from harness.mutants.cases import Lines
from harness.mutants.herd import spread
from harness.mutants.hunt import Late, limit_of, limited
from harness.whole_file import write_whole
from vm import cache

__all__ = ["UnitTest", "failing", "tests_of"]

_OF_THE_MODEL = ("test_model_*.py", "test_extent_tree.py", "test_indirect_tree.py")
LONG = 1.0
"""Seconds of CPU from which on a test is left out: most of those replay recordings."""
LOADING = 60.0
"""Seconds of CPU that pytest may take until the first of some tests runs."""
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly")


class UnitTest(msgspec.Struct, frozen=True):
    """A test: pytest's name for it, the lines of the model that it runs (a bit each, by the
    order of `lines_of`), the seconds that it takes, and whether it passes without a mutant."""

    name: str
    lines: bytes
    seconds: float
    passes: bool

    def has(self, bits: int) -> bool:
        """Whether one of the lines in `bits` runs."""
        return bool(int.from_bytes(self.lines, "little") & bits)


class _Watcher:
    """A plugin that notes what each test runs."""

    def __init__(self) -> None:
        self.lines, self.found = Lines(), list[UnitTest]()
        self._passes = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test, with what it sets up."""
        probe, began = Probe(), time.process_time()
        self._passes = True
        with probe.watching():
            result = yield
        bits = self.lines.bits(probe.lines)
        data = bits.to_bytes(bits.bit_length() // 8 + 1, "little")
        seconds = time.process_time() - began
        self.found.append(UnitTest(item.nodeid, data, seconds, self._passes))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of the test: set-up, call or what comes after."""
        self._passes = self._passes and not report.failed


class _First:
    """A plugin that remembers the first test that failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's outcome."""
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that does not even load."""
        if report.failed and self.name is None:
            self.name = report.nodeid


def _run(words: Sequence[str], plugin: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([*_OPTIONS, *words], plugins=[plugin])


def tests_of(folder: Path, workers: int) -> list[UnitTest]:
    """The model's tests in `folder`; what they run is kept in the cache until they or the model
    change. Those that take the least time come first, those that take long are left out.

    Raises `UsageError` if one fails with the model as it is: it would find every mutant out.
    """
    files = sorted(file for pattern in _OF_THE_MODEL for file in folder.glob(pattern))
    kept = cache.cache_root() / "mutants"
    with cache.disk_errors(kept):
        kept.mkdir(parents=True, exist_ok=True)
    model = [path.read_bytes() for path in sorted(MODEL.rglob("*.py"))]
    places = {file: kept / f"tests-{_key(model, file)}.json.gz" for file in files}
    missing = [(file, place) for file, place in places.items() if not place.is_file()]
    for _ in spread(_watched, missing, workers):
        pass
    found = [test for place in places.values() for test in _read(place)]
    fails = next((test.name for test in found if not test.passes), None)
    if fails is not None:
        raise UsageError(
            f"{fails} fails with the model as it is, without a mutant: mend that first"
        )
    return sorted((t for t in found if t.seconds < LONG), key=lambda test: test.seconds)


def _key(model: Sequence[bytes], file: Path) -> str:
    digest = hashlib.sha256(b"2" + file.read_bytes())  # the second form of what is kept
    for text in model:
        digest.update(text)
    return digest.hexdigest()[:32]


def _read(place: Path) -> list[UnitTest]:
    with gzip.open(place) as packed:
        return msgspec.json.decode(packed.read(), type=list[UnitTest])


def _watched(job: tuple[Path, Path]) -> bytes:
    """Run the tests of a file, and keep what they run in another."""
    file, place = job
    watcher = _Watcher()
    _run([str(file)], watcher)
    with cache.disk_errors(place.parent):
        write_whole(place, gzip.compress(msgspec.json.encode(watcher.found)))
    return b""


def failing(tests: Sequence[UnitTest]) -> str | None:
    """The first of `tests` that fails in this process, or takes too long; None if none does."""
    first = _First()
    if tests:
        usual = sum(test.seconds for test in tests)
        with (
            contextlib.suppress(Late),
            limited(LOADING + limit_of(usual)),
        ):  # pytest takes it for a failure
            _run(["-x", *(test.name for test in tests)], first)
    return first.name
