"""What `-o` names is whole or as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import AGREE, USAGE
from harness.whole_file import write_whole

PROGRAM = "on: 4k@delalloc\n\npwrite a 0 4k\n"


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("old")
    path.chmod(0o755)
    write_whole(path, "neu: ü")
    assert path.read_text("utf-8") == "neu: ü"
    assert path.stat().st_mode & 0o777 == 0o755
    assert [found.name for found in tmp_path.iterdir()] == ["one"]


def test_what_a_link_names_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    path, link = tmp_path / "one", tmp_path / "link"
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_a_device_is_written_to() -> None:
    write_whole(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "one"
    path.write_text("old")

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(type(error)):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("words", [["export", "c"], ["export", "xfs_io"], ["import", "xfs_io"]])
def test_import_and_export_leave_what_was_there_when_the_disk_is_full(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    source, target = tmp_path / "w.ops", tmp_path / "out"
    source.write_text(PROGRAM if words[0] == "export" else "open -f a\npwrite 0 4k\n")
    command = [*words, str(source), "-o", str(target)]
    assert main(command) == AGREE
    first = target.read_text()
    source.write_text(source.read_text().replace("4k\n", "8k\n"))

    def full(self: Path, *_: object) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert main(command) == USAGE
    assert "No space left on device" in capsys.readouterr().err
    assert target.read_text() == first
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out", "w.ops"]
    assert main(command) == AGREE
    assert target.read_text() != first
