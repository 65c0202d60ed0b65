from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.outbox.pace import DAY_S, Pace, Reading, written_bytes
from edgeagent.records import NS_PER_S


def paced(seconds: int, step_s: int = 60, queued_a_s: int = 1000, written: bool = True) -> Pace:
    pace = Pace()
    for s in range(0, seconds + 1, step_s):
        pace.note(Reading(s * NS_PER_S, s * queued_a_s, s * 4000 if written else None))
    return pace


def test_nothing_is_said_in_the_first_minute() -> None:
    assert paced(59, step_s=1).per_day() is None


def test_the_rates_are_those_of_the_time_that_was_seen() -> None:
    per_day = paced(3600).per_day()
    assert per_day
    assert per_day.queued_bytes == 1000 * DAY_S
    assert per_day.written_bytes == 4000 * DAY_S
    assert per_day.days_to_full(10 * 1000 * DAY_S) == 10


def test_a_days_budget_is_over_at_the_rate_of_the_time_that_was_seen() -> None:
    assert paced(3600).is_over(4000 * DAY_S - 1)
    assert not paced(3600).is_over(4000 * DAY_S)
    assert not paced(30).is_over(1)
    assert not paced(3600, written=False).is_over(1)


def test_only_the_last_day_counts() -> None:
    pace = paced(2 * DAY_S)
    for s in range(2 * DAY_S, 4 * DAY_S, 300):
        pace.note(Reading(s * NS_PER_S, 2 * DAY_S * 1000, 0))
    per_day = pace.per_day()
    assert per_day
    assert per_day.queued_bytes == 0
    assert per_day.days_to_full(1e9) is None


def test_a_kernel_that_does_not_count_is_no_zero() -> None:
    per_day = paced(3600, written=False).per_day()
    assert per_day
    assert per_day.written_bytes is None


def test_what_this_process_writes_is_counted(tmp_path: Path) -> None:
    before = written_bytes()
    with (tmp_path / "file").open("wb") as f:
        f.write(os.urandom(1_000_000))
        os.fsync(f.fileno())
    after = written_bytes()
    if before is None or after is None:
        pytest.fail("this kernel does not count what is written")
    assert after - before >= 1_000_000 or tmp_path.is_relative_to("/dev/shm")
