"""A terminal without colours or without Unicode gets what it can show, in its columns."""

from __future__ import annotations

import io

import pytest

from reports.blockmap import LEGEND
from reports.screen import fit, has_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({}, True),
        ({"TERM": "xterm"}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], colour: bool
) -> None:
    assert has_colour(Terminal(), environment) is colour
    assert not has_colour(io.StringIO(), environment)


def test_what_an_encoding_lacks_is_written_in_plain_characters_of_the_same_width() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    fit(stream)
    stream.write("d·W … é")
    assert raw.getvalue() == b"d.W ~ ?"


def test_what_an_encoding_has_stays() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    fit(stream)
    stream.write("d·W …")
    assert raw.getvalue().decode() == "d·W …"


def test_a_stream_that_is_no_file_is_left_alone() -> None:
    fit(io.StringIO())
    fit(None)


def test_every_letter_of_a_picture_has_a_plain_one_of_its_own() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    fit(stream)
    stream.write("".join(cell.value for cell in LEGEND))
    letters = raw.getvalue().decode()
    assert len(set(letters)) == len(LEGEND)
