"""What commands say of a store of another version, and of one in which nothing is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.campaign.store import FILE, Store
from harness.campaign.store_file import FORMAT
from harness.cli import main
from harness.errors import AGREE, MACHINERY, USAGE
from reports.rows import Night

NIGHT = Night("n1", line="debian:sid against model", seed=7, began="2026-11-22T23:00:00+00:00")


@pytest.fixture(params=["a newer", "an older"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A store of another version, and which one."""
    path = tmp_path / "results" / FILE
    path.parent.mkdir()
    with Store.open(path) as store:
        store.begin(NIGHT)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + (1 if request.param == 'a newer' else -1)}")
    db.close()
    return path, request.param


@pytest.mark.parametrize(
    "words",
    [
        ("report", "{store}"),
        ("report", "{store}", "--merge", "{folder}/all.sqlite"),
        ("campaign", "--resume", "{folder}"),
        ("campaign", "--count", "1", "-j", "1", "--results", "{folder}"),
    ],
)
def test_a_store_of_another_version_is_refused_in_a_line_and_left_as_it_is(
    foreign: tuple[Path, str],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, which = foreign
    monkeypatch.setattr("harness.commands.campaign.pin_kernels", lambda _options: None)
    before = path.read_bytes()
    given = [word.format(store=path, folder=path.parent) for word in words]
    assert main(given) == USAGE
    error = capsys.readouterr().err
    assert f"is of {which} version of ext4diff" in error
    assert "read it with that version, or give another file" in error
    assert error.count("\n") == 1
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [FILE]


@pytest.mark.parametrize("nights", [0, 1])
def test_every_report_of_no_results_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nights: int
) -> None:
    path = tmp_path / FILE
    with Store.open(path) as store:
        for _ in range(nights):
            store.begin(NIGHT)
    names = {"html": "r.html", "junit": "r.xml", "ktap": "r.ktap", "markdown": "r.md"}
    words = [word for kind, name in names.items() for word in (f"--{kind}", str(tmp_path / name))]
    words += ["--csv", str(tmp_path / "csv"), "--parquet", str(tmp_path / "parquet")]
    assert main(["report", str(path), *words, "--fail-on", "mismatch"]) == MACHINERY
    assert main(["report", str(path)]) == AGREE
    assert "Nothing was run" in capsys.readouterr().out
    assert "Nothing was run" in (tmp_path / "r.html").read_text()
    assert "Nothing was run" in (tmp_path / "r.md").read_text()
    assert (tmp_path / "r.ktap").read_text().startswith("KTAP version 1\n1..0")
    assert 'tests="0"' in (tmp_path / "r.xml").read_text()
    assert (tmp_path / "csv" / "results.csv").read_text().count("\n") == 1
    assert (tmp_path / "parquet" / "results.parquet").is_file()
