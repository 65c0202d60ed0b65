from __future__ import annotations

from datetime import datetime

import pytest

from edgeagent.config.hours import parse_hours
from edgeagent.errors import ConfigFault


@pytest.mark.parametrize(
    ("hours", "now", "opens_in_s"),
    [
        ("01:00-05:00", "00:59:59", 1),
        ("01:00-05:00", "01:00:00", 0),
        ("01:00-05:00", "04:59:59", 0),
        ("01:00-05:00", "05:00:00", 20 * 3600),
        ("22:00 - 06:00", "23:00:00", 0),
        ("22:00 - 06:00", "05:59:59", 0),
        ("22:00 - 06:00", "06:00:00", 16 * 3600),
    ],
)
def test_hours_last_from_their_first_second_to_before_the_other_also_over_midnight(
    hours: str, now: str, opens_in_s: int
) -> None:
    wall_s = datetime.fromisoformat(f"2026-11-22T{now}").timestamp()
    assert parse_hours(hours).opens_in_s(wall_s) == opens_in_s


@pytest.mark.parametrize("text", ["", "1-5", "01:00", "01:00-24:00", "01:60-02:00", "03:00-03:00"])
def test_what_are_no_hours_is_a_config_fault(text: str) -> None:
    with pytest.raises(ConfigFault, match="no hours of the day"):
        parse_hours(text)
