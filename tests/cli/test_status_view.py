"""What `edgeagent status` makes of a sensor's counters."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.cli.status import _rate, _state, _trouble


@pytest.mark.parametrize(
    ("counters", "shown"),
    [
        ({"state": "ok", "good_frames": 900, "bad_frames": 0, "true_rate_hz": 20.01, "logs": 2}, ""),
        ({"bad_frames": 2, "duplicate_frames": 1, "resets": 1}, "2 bad frames, 1 duplicate frames, 1 resets"),
        ({"resets": 1, "filtered": {"x is not 0 or more A": 7}}, "1 resets, 7 times x is not 0 or more A"),
    ],
)
def test_a_sensors_trouble_is_its_counts_of_what_went_wrong(counters: dict[str, object], shown: str) -> None:
    assert _trouble({"filtered": {}} | counters) == shown


@pytest.mark.parametrize(
    ("sensor", "shown"),
    [
        ({"rate_hz": 50.0, "true_rate_hz": 49.812}, "49.81 of 50 Hz"),
        ({"rate_hz": 0.1}, "0.1 Hz"),
        ({"rate_hz": None, "true_rate_hz": 0}, ""),
    ],
)
def test_a_sensors_true_rate_stands_beside_the_one_it_is_to_have(sensor: dict[str, Any], shown: str) -> None:
    assert _rate(sensor) == shown


def test_a_sensor_that_is_not_well_says_since_when() -> None:
    assert _state({"state": "gone", "for_s": 90.4}) == "gone for 90 s"
    assert _state({"state": "ok", "for_s": 90.4}) == "ok"
