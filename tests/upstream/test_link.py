"""How much may go over a link: by the month, by the second, and by what it has shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgeagent.records import NS_PER_S, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream.link import FIRST_BATCH_BYTES, LEAST_BATCH_BYTES, Link
from edgeagent.upstream.sync import LIMITS

MB = 1_000_000
UNSYNCED = Wall(0, synced=False)


def at(text: str) -> Wall:
    """A wall clock that shows this date when monotonic time is 0."""
    return Wall(round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S, synced=True)


NOVEMBER, DECEMBER = at("2026-11-30T23:59:59"), at("2026-12-01T00:00:00")


def test_a_link_without_a_budget_takes_all() -> None:
    allowed = Link(0, 0, {"2026-11": 10**15}).allowance(0, NOVEMBER)
    assert (allowed.pause_s, allowed.why, allowed.limits.least) == (0.0, "", Priority.BULK)


def test_of_a_months_budget_the_last_tenth_is_for_events() -> None:
    link = Link(10 * MB, 0, {"2026-11": 8_900_000})
    allowed = link.allowance(0, NOVEMBER)
    assert (allowed.limits.max_bytes, allowed.limits.least) == (100_000, Priority.BULK)
    link.sent(100_000, 0, 0, NOVEMBER)
    allowed = link.allowance(0, NOVEMBER)
    assert allowed.limits.least == Priority.EVENT
    assert allowed.pause_s == 0
    assert allowed.why == "has sent 9.0 of 10.0 MB this month: the rest is for events, captures and gaps"


def test_a_budget_that_is_spent_holds_everything_until_the_next_month() -> None:
    link = Link(10 * MB, 0, {"2026-11": 9_999_000})
    assert link.sent(1000, 0, 0, NOVEMBER) == "2026-11"
    allowed = link.allowance(0, NOVEMBER)
    assert allowed.pause_s == 60
    assert allowed.why == "has sent 10.0 of 10.0 MB this month, and waits for the next"
    assert link.allowance(0, DECEMBER).pause_s == 0
    assert link.sent(5, 0, 0, DECEMBER) == "2026-12"
    assert link.sent_bytes == {"2026-11": 10 * MB, "2026-12": 5}


def test_without_a_clock_bytes_count_for_the_last_month_that_was_known() -> None:
    link = Link(MB, 0, {"2026-10": 5, "2026-11": MB})
    assert link.month(0, UNSYNCED) == "2026-11"
    assert link.allowance(0, UNSYNCED).pause_s == 60
    assert Link(MB, 0, {}).allowance(0, UNSYNCED).pause_s == 0


@pytest.mark.parametrize("size_bytes", [10_000, 400_000])
def test_a_link_with_so_many_bytes_a_second_pauses_for_what_it_has_sent(size_bytes: int) -> None:
    link, now_ns = Link(0, 20_000, {}), 0
    for _ in range(10):
        allowed = link.allowance(now_ns, UNSYNCED)
        assert allowed.limits.max_bytes == 40_000
        took_ns = NS_PER_S // 10
        link.sent(size_bytes, took_ns, now_ns + took_ns, UNSYNCED)
        now_ns += took_ns + round(link.allowance(now_ns + took_ns, UNSYNCED).pause_s * NS_PER_S)
    assert now_ns / NS_PER_S == pytest.approx(10 * size_bytes / 20_000)


def test_batches_grow_on_a_quick_link_and_shrink_on_a_slow_one() -> None:
    link, sizes = Link(0, 0, {}), []
    for speed in (10 * MB, 10 * MB, 10 * MB, 20_000, 20_000):
        size = link.allowance(0, UNSYNCED).limits.max_bytes
        sizes.append(size)
        link.worked(size, size, size * NS_PER_S // speed)
    assert sizes == [FIRST_BATCH_BYTES, 2 * FIRST_BATCH_BYTES, LIMITS.max_bytes, LIMITS.max_bytes, 100_000]


def test_a_small_batch_says_nothing_of_the_links_speed() -> None:
    link = Link(0, 0, {})
    link.worked(300, 300, NS_PER_S)
    assert link.allowance(0, UNSYNCED).limits.max_bytes == FIRST_BATCH_BYTES


def test_after_failures_less_is_asked_of_a_link() -> None:
    link = Link(0, 0, {})
    link.failed()
    assert link.allowance(0, UNSYNCED).limits.max_bytes == FIRST_BATCH_BYTES // 2
    for _ in range(5):
        link.failed()
    assert link.allowance(0, UNSYNCED).limits.max_bytes == LEAST_BATCH_BYTES


def test_a_batch_that_zstd_makes_smaller_is_measured_by_its_records() -> None:
    link = Link(0, 0, {})
    for _ in range(10):
        link.failed()
    for _ in range(20):
        size = link.allowance(0, UNSYNCED).limits.max_bytes
        packed_bytes = size // 5
        link.worked(packed_bytes, size, packed_bytes * NS_PER_S // 20_000)
    assert size == pytest.approx(5 * 20_000 * 5, rel=0.01), "what 20 kB/s take of it in five seconds"


def test_the_word_that_ends_an_upload_says_nothing_of_the_links_speed() -> None:
    link = Link(0, 0, {})
    link.worked(120, 900_000, NS_PER_S // 1000)
    assert link.allowance(0, UNSYNCED).limits.max_bytes == FIRST_BATCH_BYTES
