"""What is given on the command line touches no device of the host; docs/security.md names these."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import USAGE
from harness.whole_file import write_whole
from workloads.files import load
from workloads.host_files import open_regular, refuse_disk

DEVICE = "/dev/zero"
"""A device that everyone has, and that never ends."""
OPS = "sync\n"

_WATCHED = """
import sys
def watch(event, arguments):
    if event in ("open", "os.open") and str(arguments[0]) in ("/dev/zero", sys.argv[1]):
        print("OPENED", arguments[0], file=sys.stderr, flush=True)
        import os; os._exit(99)
sys.addaudithook(watch)
from harness.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""ext4diff, which ends at once if it opens the device or the link to it."""


def _status(link: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(link), *words], capture_output=True, text=True,
        check=False, timeout=600, cwd=link.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    return done.returncode, done.stderr


COMMANDS = [
    ("run", "sync", "--from", "DEVICE"),
    ("run", "sync", "--kernel", "DEVICE"),
    ("run", "sync", "--kernel", "recording:DEVICE"),
    ("run", "sync", "--kernel", "series:DEVICE on tree:/nowhere"),
    ("replay", "DEVICE"),
    ("mail", "DEVICE"),
    ("pack", "DEVICE"),
    ("image", "show", "DEVICE"),
    ("image", "check", "DEVICE"),
    ("image", "diff", "DEVICE", "DEVICE"),
    ("image", "expected", "a.ops", "DEVICE"),
    ("image", "expected", "a.ops", "out.img", "--from", "DEVICE"),
    ("check-recording", "DEVICE"),
    ("report", "DEVICE"),
    ("kernel", "probe", "DEVICE"),
]
"""Everything that takes an image, a kernel, an artifact, a recording or a store."""


@pytest.mark.parametrize(
    ("words", "through"),
    [(words, "itself") for words in COMMANDS] + [(words, "a link") for words in COMMANDS[:5]],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_no_command_opens_a_device(tmp_path: Path, words: tuple[str, ...], through: str) -> None:
    link = tmp_path / "image.tar.zst"  # the name does not deceive
    link.symlink_to(DEVICE)
    (tmp_path / "a.ops").write_text(OPS)
    given = DEVICE if through == "itself" else str(link)
    status, said = _status(link, *(word.replace("DEVICE", given) for word in words))
    assert status == USAGE, said
    assert said.startswith("ext4diff: ")
    assert said.count("\n") == 1
    assert given in said
    assert Path(DEVICE).is_char_device()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A block device, as far as stat(2) can tell; only root could make one."""
    path = tmp_path / "sda"
    path.write_bytes(b"precious")
    honest = Path.stat

    def disguised(asked: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = honest(asked, follow_symlinks=follow_symlinks)
        if asked.name != path.name:
            return found
        mode = stat.S_IFBLK | stat.S_IMODE(found.st_mode)
        return os.stat_result((mode, *found[1:10]))

    monkeypatch.setattr(Path, "stat", disguised)
    return path


def test_texts_are_neither_read_from_nor_written_to_a_disk(disk: Path) -> None:
    with pytest.raises(OSError, match="it is a disk, which is not touched"):
        load(disk)
    with pytest.raises(OSError, match="it is a disk, which is not touched"):
        write_whole(disk, "gone")
    assert disk.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "words",
    [
        ("lint", "{}"), ("lint", "--fix", "{}"), ("run", "{}"), ("minimize", "{}"),
        ("shell", "{}"), ("import", "{}", "--from", "fsx"),
        ("export", "a.ops", "--to", "c", "-o", "{}"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_on_a_disk_are_usage_errors(
    disk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(disk.parent)
    Path("a.ops").write_text(OPS)
    try:
        status = main([word.format(disk) for word in words])
    except SystemExit as error:
        status = int(error.code or 0)
    assert status in (2, 3)
    assert disk.read_bytes() == b"precious"


def test_pipes_are_texts_as_good_as_files(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"pwrite a 0 4k\n")
    os.close(write)
    assert len(load(Path(f"/proc/self/fd/{read}")).ops) == 1
    os.close(read)
    refuse_disk(tmp_path)


def test_what_is_in_memory_has_no_name_and_is_regular(tmp_path: Path) -> None:
    """The guest's disk is such a file."""
    number = os.memfd_create("disk")
    os.write(number, b"data")
    with open_regular(Path(f"/proc/self/fd/{number}")) as file:
        assert file.read() == b"data"
    os.close(number)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "nul"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # opening it would wait for a writer
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path = tmp_path / "x\0y"
    with pytest.raises(OSError):
        open_regular(path)
