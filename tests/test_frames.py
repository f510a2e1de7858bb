"""The frames hold what the store holds, under documented names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from nights import DAY, a_week, frames, night, row

from harness.errors import MachineryError
from harness.verdict import Outcome
from reports.frames import COLUMNS, UNSIGNED, export
from reports.rows import Covered

PAGE = Path(__file__).parent.parent / "docs" / "reports.md"


@pytest.mark.parametrize("made", [a_week, lambda: frames([])], ids=["full", "empty"])
def test_every_frame_has_the_documented_columns(made):
    for name, frame in made().items():
        assert list(frame.columns) == list(COLUMNS[name])


def test_every_column_is_in_the_documentation_with_the_same_words():
    page = PAGE.read_text("utf-8")
    for name, columns in COLUMNS.items():
        section = page.partition(f"### `{name}`")[2].partition("\n### ")[0]
        for column, meaning in columns.items():
            assert f"| `{column}` | {meaning} |" in section


def test_a_row_is_a_row_of_results_and_of_timings():
    one = night(1)
    made = frames([row(one, 5, seconds=0.5, build_id="00ff", kept_in="artifacts/x")], one)
    (result,) = made.results.to_dict("records")
    assert result["program"] == "random:7:5"
    assert (result["seed"], result["number"], result["order"]) == (7, 5, DAY)
    assert (result["outcome"], result["build_id"]) == ("agree", "00ff")
    assert result["artifact"] == "artifacts/x"
    (timing,) = made.timings.to_dict("records")
    assert timing["other"] == pytest.approx(0.5 - 0.15)  # a boot is not in the program's time
    assert timing["boot"] == 0.3


def test_a_finding_is_told_by_signature_line_and_path_with_its_shortest_example():
    one, two = night(1), night(2)
    rows = [
        row(one, 0, "size"),
        row(two, 1, "size", steps=9),
        row(two, 2, "size", steps=2, config="1k@delalloc"),
        row(two, 3, "size", path="iomap"),
        row(two, 4, "blocks"),
    ]
    found = frames(rows, one, two).findings
    assert len(found) == 3
    (size,) = found[(found["what"] == "size: larger, write") & (found["path"] == "bh")].to_dict(
        "records"
    )
    assert (size["programs"], size["nights"], size["rule"]) == (3, 2, "write.size")
    assert (size["first"], size["last"], size["example"]) == (one.id, two.id, "random:7:2")
    assert size["configs"] == "4k@delalloc 1k@delalloc"


def test_a_mismatch_without_a_signature_is_no_less_a_finding():
    made = frames([row(night(1), 0, outcome=Outcome.MISMATCH)], night(1))
    assert list(made.findings["signature"]) == [UNSIGNED]


def test_coverage_of_shards_adds_up():
    reached = [Covered("n", shard, "rule", "r", 2) for shard in ("a", "b")]
    assert frames([], coverage=reached).coverage.to_dict("records") == [
        {"night": "n", "what": "rule", "name": "r", "count": 4}
    ]


def test_rows_of_an_unknown_night_are_kept():
    made = frames([row(night(3), 0)], night(1))
    assert len(made.results) == 1
    assert list(made.nights["night"]) == [night(3).id, night(1).id]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_exported_frames_read_back_the_same(tmp_path, form):
    made = a_week()
    written = export(made, tmp_path / "out", form)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{form}" for name in COLUMNS
    )
    for path, (_name, frame) in zip(written, made.items(), strict=True):
        again = pd.read_parquet(path) if form == "parquet" else pd.read_csv(path)
        assert list(again.columns) == list(frame.columns)
        assert len(again) == len(frame)
        if form == "parquet":
            pd.testing.assert_frame_equal(again, frame, check_dtype=False, check_categorical=False)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineryError, match="cannot write"):
        export(a_week(), tmp_path / "file", "csv")
