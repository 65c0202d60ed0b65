from __future__ import annotations

import time
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


def test_hours_are_those_of_the_devices_own_zone_in_summer_and_in_winter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opens_in_h(utc: str) -> float:
        return parse_hours("01:00-05:00").opens_in_s(datetime.fromisoformat(f"{utc}Z").timestamp()) / 3600

    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert [opens_in_h(f"2026-01-15T{t}") for t in ("00:00", "03:59", "04:00")] == [0, 0, 20]
        assert [opens_in_h(f"2026-07-15T{t}") for t in ("00:00", "02:59", "03:00")] == [0, 0, 20]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "1-5", "01:00", "01:00-24:00", "01:60-02:00", "03:00-03:00"])
def test_what_are_no_hours_is_a_config_fault(text: str) -> None:
    with pytest.raises(ConfigFault, match="no hours of the day"):
        parse_hours(text)
