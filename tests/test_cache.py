"""The cache: entries are whole or absent, made once, and its failures say what to do."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from vm import cache
from vm.errors import CacheError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ext4diff"


def _write(into: Path) -> None:
    (into / "file").write_text("whole")


def test_an_entry_is_filled_once(root: Path) -> None:
    first = cache.entry("kind", "key", _write)
    assert first == root / "kind" / "key"

    def again(into: Path) -> None:
        raise AssertionError("filled twice")

    assert cache.entry("kind", "key", again) == first
    assert (first / "file").read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interrupted_entry_leaves_nothing(root: Path, error: type[BaseException]) -> None:
    def fill(into: Path) -> None:
        _write(into)
        raise error

    with pytest.raises(error):
        cache.entry("kind", "key", fill)
    assert [path.name for path in (root / "kind").iterdir()] == [".key.lock"]
    assert (cache.entry("kind", "key", _write) / "file").is_file()


def test_what_a_killed_process_left_is_removed(root: Path) -> None:
    (root / "kind/.key.new").mkdir(parents=True)
    (root / "kind/.key.new/half").touch()
    assert [path.name for path in cache.entry("kind", "key", _write).iterdir()] == ["file"]


def _fill_slowly(counter: str) -> None:
    def fill(into: Path) -> None:
        with Path(counter).open("a") as file:
            file.write("filled\n")
        time.sleep(0.2)
        _write(into)

    assert (cache.entry("kind", "key", fill) / "file").read_text() == "whole"


def test_parallel_workers_fill_an_entry_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counter = str(tmp_path / "counter")
    workers = [context.Process(target=_fill_slowly, args=(counter,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert Path(counter).read_text() == "filled\n"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left on the disk of .* free 800 MB there, or set XDG_CACHE_HOME"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "Permission denied; set XDG_CACHE_HOME"),
        (errno.EROFS, "Read-only file system; set XDG_CACHE_HOME"),
    ],
)
def test_disk_errors_say_what_to_do(root: Path, number: int, words: str) -> None:
    def fill(into: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(CacheError, match=words) as caught:
        cache.entry("kind", "key", fill)
    assert "\n" not in str(caught.value)
    assert not (root / "kind/key").exists()


def test_a_cache_that_can_not_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="set XDG_CACHE_HOME to a directory that you can write to"):
        cache.cache_root()


def test_a_relative_xdg_cache_home_is_ignored_as_the_standard_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / ".cache/ext4diff"


def test_prune_keeps_the_newest_and_what_is_in_use(root: Path) -> None:
    now = time.time()
    for number, age in enumerate([0.1, 0.5, 3, 4, 5]):
        path = cache.entry("kind", f"e{number}", _write)
        os.utime(path, (now - age * 86400,) * 2)
    cache.prune("kind", keep=1, days=1)
    assert sorted(path.name for path in (root / "kind").glob("e*")) == ["e0", "e1"]
    cache.prune("no such kind", keep=1, days=1)


def test_a_process_whose_clock_is_ahead_removes_nothing_that_others_use(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        cache.entry("kind", f"e{number}", _write)
    ahead = time.time() + 30 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    cache.prune("kind", keep=1, days=1)
    assert len(list((root / "kind").glob("e*"))) == 3


def test_keys_depend_on_every_part_and_its_boundaries() -> None:
    keys = {cache.key_of("ab", "c"), cache.key_of("a", "bc"), cache.key_of("abc"), cache.key_of()}
    assert len(keys) == 4
    assert cache.key_of("a", b"b") == cache.key_of(b"a", "b")
