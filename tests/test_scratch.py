"""Folders for what is needed on the way: gone at the end, or removed by the next command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vm.scratch import scratch, semaphores_named, sweep

_SECONDS = 60


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def other(temporary: Path, words: str = "") -> subprocess.Popen[str]:
    """Another process with a scratch, in which it has put a file."""
    program = (
        "import sys, time; from vm.scratch import scratch, semaphores_named\n"
        "with scratch('other') as folder:\n"
        "    (folder / 'file').write_text('x')\n"
        f"    {words or 'pass'}\n"
        "    print(folder, flush=True); time.sleep(600)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(_SECONDS)


def test_it_is_empty_and_gone_at_the_end(temporary: Path) -> None:
    with scratch("some") as folder:
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert [path.name.startswith("ext4diff-some-") for path in temporary.iterdir()] == [True]
        assert sweep() == []
        assert (folder / "deep" / "file").exists()
    assert list(temporary.iterdir()) == []


def test_it_is_gone_after_an_error(temporary: Path) -> None:
    with pytest.raises(KeyError), scratch() as folder:
        raise KeyError(folder)
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_has_left_is_swept_and_nothing_else(temporary: Path) -> None:
    for name in ("ext4diff-of-an-older-version", "ext4diff-tools", "something"):
        (temporary / name).mkdir()
    (temporary / "something" / "lock").touch()
    (temporary / "ext4diff-file").touch()
    before = set(temporary.iterdir())
    lives, dies = other(temporary), other(temporary)
    try:
        kept, left = Path(line_of(lives)), Path(line_of(dies))
        killed(dies)
        assert (left / "file").exists()
        with scratch() as folder:
            assert not left.parent.exists()
            assert (kept / "file").exists()
            assert set(temporary.iterdir()) == before | {kept.parent, folder.parent}
    finally:
        killed(lives)
    assert sweep() == [kept.parent]
    assert set(temporary.iterdir()) == before


def test_what_can_t_be_removed_yet_is_tried_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is about to end may still write there."""
    with monkeypatch.context() as patch, scratch() as folder:
        patch.setattr("shutil.rmtree", lambda *_words, **_options: None)
    assert folder.exists()
    assert sweep() == [folder.parent]
    assert list(temporary.iterdir()) == []


def test_semaphores_of_a_process_that_was_killed_with_its_tracker_are_swept(
    temporary: Path,
) -> None:
    words = (
        "naming = semaphores_named(folder); naming.__enter__(); import multiprocessing;"
        " held = multiprocessing.get_context('spawn').Semaphore()"
    )
    dies = other(temporary, words)
    left = Path(line_of(dies)).parent
    semaphores = Path("/dev/shm")
    assert len(list(semaphores.glob(f"sem.{left.name}-*"))) == 1
    killed(dies)
    assert sweep() == [left]
    assert list(semaphores.glob(f"sem.{left.name}-*")) == []


def test_names_of_semaphores_are_the_usual_ones_afterwards() -> None:
    import multiprocessing  # noqa: PLC0415

    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = dict(config)
    with scratch() as folder, semaphores_named(folder):
        assert config["semprefix"] == f"/{folder.parent.name}"
    assert config == before
