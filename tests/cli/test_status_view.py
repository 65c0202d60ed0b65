"""What `edgeagent status` makes of a sensor's counters."""

from __future__ import annotations

import pytest

from edgeagent.cli.status import _trouble


@pytest.mark.parametrize(
    ("counters", "shown"),
    [
        ({"state": "ok", "good_frames": 900, "bad_frames": 0, "true_rate_hz": 20.01, "logs": 2}, ""),
        ({"bad_frames": 2, "duplicate_frames": 1, "resets": 1}, "2 bad frames, 1 duplicate frames, 1 resets"),
    ],
)
def test_a_sensors_trouble_is_its_counts_of_what_went_wrong(counters: dict[str, object], shown: str) -> None:
    assert _trouble(counters) == shown
