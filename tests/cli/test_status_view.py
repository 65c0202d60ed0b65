"""What `edgeagent status` makes of a sensor's counters."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.cli.status import _is_news, _level, _rate, _state, _trouble, _why, span


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
        ({"rate_hz": 1.0, "measured_hz": 9.98}, "9.98 Hz, none stated"),
        ({"rate_hz": 1.0, "measured_hz": 0.0}, "rate unknown yet"),
        ({"rate_hz": None, "true_rate_hz": 0}, ""),
    ],
)
def test_a_sensors_true_rate_stands_beside_the_one_it_is_to_have(sensor: dict[str, Any], shown: str) -> None:
    assert _rate(sensor) == shown


def test_a_sensor_that_is_not_well_says_since_when() -> None:
    assert _state({"state": "gone", "for_s": 90.4}) == "gone for 1 min 30 s"
    assert _state({"state": "ok", "for_s": 90.4}) == "ok"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (183, "3 min 3 s"),
        (3_600, "1 h"),
        (12_000, "3 h 20 min"),
        (1_051_300, "12 d 4 h"),
    ],
)
def test_a_span_is_told_in_the_two_units_that_matter(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_an_output_is_on_or_off_as_in_the_config_and_a_level_a_number() -> None:
    assert [_level(level) for level in (True, 1.0, False, 0.0, 0.4, None)] == [
        "on",
        "on",
        "off",
        "off",
        0.4,
        None,
    ]


def test_the_last_warning_is_told_only_if_it_is_not_said_at_the_top_already() -> None:
    degraded = ["sensor a is gone: no port", "outbox: the disk is full"]
    assert not _is_news("sensor a is gone: no port", degraded)
    assert not _is_news("the outbox cannot be written: the disk is full", degraded)
    assert not _is_news("", degraded)
    assert _is_news("sensor b is gone: no port at all", degraded)


SERVES = {
    "got": "cpu",
    "why": "m is the first",
    "threads": 1,
    "threads_why": "the config says so",
    "clipped": 0.0,
    "unconfined": [],
}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({}, "m is the first; 1 thread: the config says so"),
        ({"clipped": 0.0004, "threads": 2}, "m is the first; 2 threads: the config says so"),
        (
            {"clipped": 0.123},
            "m is the first; 1 thread: the config says so; "
            "12.3% of what it was given lies beyond its range, and was clipped",
        ),
        (
            {"unconfined": ["RLIMIT_AS: not permitted", "seccomp: no filter for riscv64"]},
            "m is the first; 1 thread: the config says so; "
            "not confined: RLIMIT_AS: not permitted, seccomp: no filter for riscv64",
        ),
        ({"got": None, "why": "m: the model file is empty"}, "m: the model file is empty"),
    ],
)
def test_a_model_says_why_it_runs_so_and_what_is_amiss_with_it(model: dict[str, Any], told: str) -> None:
    assert _why(SERVES | model) == told
