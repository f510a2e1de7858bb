"""What a campaign's progress line says of counts and rates."""

from __future__ import annotations

import pytest

from harness.campaign.progress import rate_text


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
