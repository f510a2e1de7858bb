"""A line that changes on a terminal, and lines that come seldom elsewhere."""

from __future__ import annotations

import io

import pytest

from vm.live_line import LiveLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_terminal_shows_the_last_line_and_keeps_what_is_told(clock: list[float]) -> None:
    out = Terminal()
    line = LiveLine(out, every=0.5)
    line.show("too soon")
    clock[0] += 0.5
    line.show("one")
    line.show("two", news=True)
    line.tell("done")
    assert out.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kdone\n"
    line.close()
    assert out.getvalue().endswith("done\n")


def test_a_line_that_is_taken_away_leaves_nothing(clock: list[float]) -> None:
    out = Terminal()
    line = LiveLine(out)
    clock[0] += 1
    line.show("x" * 1000)
    assert len(out.getvalue()) < 500  # not wider than the terminal: a second row would stay
    line.close()
    line.close()
    assert out.getvalue().endswith("\r\x1b[K")
    assert out.getvalue().count("\r\x1b[K") == 2


def test_where_no_terminal_is_a_line_comes_now_and_then(clock: list[float]) -> None:
    out = io.StringIO()
    line = LiveLine(out, seldom=60)
    for second in range(130):
        clock[0] = 100.0 + second
        line.show(f"{second} s")
    line.close()
    assert out.getvalue() == "60 s\n120 s\n"


def test_without_an_interval_only_news_come_once(clock: list[float]) -> None:
    out = io.StringIO()
    line = LiveLine(out)
    clock[0] += 1000
    line.show("10 left")
    line.show("9 left", news=True)
    line.show("9 left", news=True)
    assert out.getvalue() == "9 left\n"
