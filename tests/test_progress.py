"""What a campaign's progress line says of counts, rates and the time that is left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from harness.campaign import progress
from harness.campaign.bench import Done
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan
from harness.campaign.progress import Progress, rate_text
from harness.campaign.shelf import Shelf
from harness.campaign.store import Store
from harness.verdict import Outcome
from reports.rows import Night, Row
from reports.summary import Digest


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [
        (0, 0.0, "0.0/h"),
        (0, 60.0, "0.0/h"),
        (250, 100.0, "2.5/s"),
        (100, 100.0, "1.0/s"),
        (90, 100.0, "54.0/min"),
        (5, 144.0, "2.1/min"),
        (1, 120.0, "30.0/h"),
    ],
)
def test_a_slow_rate_is_told_by_the_minute_or_the_hour(
    count: int, seconds: float, text: str
) -> None:
    """A night on a busy machine never reads `0.0/s` while programs come."""
    assert rate_text(count, seconds) == text


def _row(number: int | None, path: str, name: str = "p") -> Row:
    found = Digest(name, "4k@delalloc", path, Outcome.AGREE, 0.1, "said")
    kind = "catalogue" if number is None else "random"
    return Row("night", kind, found, seed=1, number=number)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    store = Store.open(tmp_path / "results.sqlite")
    store.begin(Night("night"))
    store.add([_row(0, "bh"), _row(0, "iomap")])
    return Keeper("night", store, Shelf(tmp_path, 1 << 20))


@pytest.mark.parametrize("paths", [("bh",), ("bh", "iomap")])
def test_the_time_left_counts_programs_on_however_many_paths_they_run(
    keeper: Keeper, paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an earlier run, then 20 in 100 s: 79 of 100 are left, whatever a program takes."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    out = io.StringIO()
    shown = Progress(keeper, None, 100, out)
    for number in range(1, 21):
        for path in paths:
            keeper.take(Done(_row(number, path)))
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    shown.show(1, end=True)
    assert f"21 programs ({2 + 20 * len(paths)} runs), " in out.getvalue()
    assert "6 min 35 s left" in out.getvalue()


def test_a_file_of_the_catalogue_is_one_program_on_all_of_its_configurations(
    keeper: Keeper,
) -> None:
    for config in ("4k@delalloc", "1k@delalloc", "1k@delalloc+iomap"):
        keeper.take(Done(_row(None, "bh", f"holes/seek.ops::{config}")))
    assert len(keeper.programs) == 2


def test_a_plan_knows_how_many_programs_it_has() -> None:
    assert Plan(1, count=50).total == 50
    assert Plan(1, count=50, exhaustive=(100, 130)).total == 80
    assert Plan(1).total is None
    assert Plan(1, kinds=(), exhaustive=(0, 7)).total == 7
