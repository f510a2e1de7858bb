"""What is new since the last night, by kernel and path."""

from __future__ import annotations

import pytest
from nights import DAY, LINE, a_week, frames, night, row, since

from harness.verdict import Outcome
from reports.since import State, since_last_night

N1, N2, N3 = night(1), night(2), night(3)
OTHER = "series:x.mbox on tree:~/linux against model"


def states(found, path="bh", line=LINE):
    (part,) = [part for part in found.parts if (part.path, part.line) == (path, line)]
    return {one.about.what.partition(":")[0]: str(one.state) for one in part.findings}


def test_new_back_still_and_away():
    rows = [
        row(N1, 0, "back"),
        row(N2, 0, "still"),
        row(N2, 1, "away"),
        row(N3, 0, "still"),
        row(N3, 1, "back"),
        row(N3, 2, "new"),
    ]
    found = since(rows, N1, N2, N3)
    assert states(found) == {"still": "still", "back": "back", "new": "new", "away": "away"}
    assert found.headline == "1 new finding"
    assert [str(cause.state) for cause in found.causes] == ["new", "back", "still", "away"]


def test_paths_are_told_apart():
    rows = [row(N1, 0, "size"), row(N2, 0, "size"), row(N2, 0, "size", path="iomap")]
    found = since(rows, N1, N2)
    assert states(found) == {"size": "still"}
    assert states(found, "iomap") == {"size": "new"}
    (cause,) = found.causes
    assert cause.state is State.NEW
    assert [part.path for part, _ in cause.places] == ["iomap", "bh"]


def test_kernels_are_told_apart_by_what_was_asked_for_not_by_their_build():
    other = night(2, line=OTHER)
    rows = [
        row(N1, 0, "size", kernel="7.3.4"),
        row(N2, 0, "size", kernel="7.3.5"),
        row(other, 0, "size"),
    ]
    found = since(rows, N1, N2, other)
    assert states(found) == {"size": "still"}
    assert states(found, line=OTHER) == {"size": "new"}
    part = next(part for part in found.parts if part.line == LINE)
    assert (part.kernels, part.before) == (("7.3.5",), ("7.3.4",))


def test_machines_that_work_the_same_night_are_one_night():
    here, there = night(2), night(2, machine="lab2")
    found = since([row(N1, 0, "a"), row(here, 0, "a"), row(there, 1, "b")], N1, here, there)
    assert states(found) == {"a": "still", "b": "new"}
    assert found.parts[0].runs == 2


def test_a_service_whose_machines_change_their_names_has_nights_all_the_same():
    nights = [night(day, machine=f"runner-{day}") for day in (1, 2, 3)]
    rows = [row(nights[0], 0, "a"), row(nights[1], 0, "b"), row(nights[2], 0, "a")]
    assert states(since(rows, *nights)) == {"a": "back", "b": "away"}


def test_two_campaigns_of_a_day_are_two_nights():
    first, second = night(1), night(1, machine="lab")
    second = type(second)(**{**_fields(second), "id": "later", "order": DAY + 60})
    rows = [row(first, 0, "a"), row(second, 0, "a"), row(second, 1, "b")]
    assert states(since(rows, first, second)) == {"a": "still", "b": "new"}


def _fields(record):
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_a_kernel_that_is_not_tested_any_more_is_not_of_the_last_night():
    old = night(1, line=OTHER)
    found = since([row(old, 0, "a"), row(N1, 0), row(N2, 0), row(N3, 0)], old, N1, N2, N3)
    assert [part.line for part in found.parts] == [LINE]


@pytest.mark.parametrize(
    ("rows", "headline", "mood"),
    [
        ([], "Nothing was run", "empty"),
        ([row(N2, 0)], "No mismatch", "good"),
        ([row(N2, 0, outcome=Outcome.KNOWN)], "No mismatch", "good"),
        ([row(N2, 0, outcome=Outcome.BROKEN)], "Nothing was compared", "empty"),
        ([row(N2, 0, outcome=Outcome.NOT_MODELLED)], "Nothing was compared", "empty"),
        ([row(N1, 0, "a"), row(N2, 0, "a")], "Nothing new", "old"),
        ([row(N2, 0, "a"), row(N2, 1, "b"), row(N2, 2, "b")], "2 new findings", "bad"),
        ([row(N2, 0, outcome=Outcome.MISMATCH)], "1 new finding", "bad"),
    ],
)
def test_the_headline(rows, headline, mood):
    found = since(rows, N1, N2)
    assert (found.headline, found.mood) == (headline, mood)


def test_a_finding_that_is_back_is_said_to_be():
    found = since([row(N1, 0, "a"), row(N2, 0), row(N3, 0, "a")], N1, N2, N3)
    assert found.headline == "No new finding, 1 that is back"


def test_no_nights_at_all():
    found = since_last_night(frames([]))
    assert (found.headline, found.parts, found.causes) == ("Nothing was run", (), ())


def test_outcomes_count_every_row_of_the_last_night_once():
    found = since_last_night(a_week())
    assert sum(part.runs for part in found.parts) == len(found.results) == 9
    assert found.count(Outcome.MISMATCH) == 4
