"""When a receiver's time is believed, and what does not move it then."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_MS, NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.gnss_time import AGREEING, GnssTime
from edgeagent.sensors.nmea import Options, build
from edgeagent.timebase import Wall

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOON_NS = round(NOON.timestamp()) * NS_PER_S
START_NS = 41 * NS_PER_S  # since boot
SHUT_DOWN_NS = NOON_NS - 3 * 86_400 * NS_PER_S  # where the system's unset clock began


def second(n: float) -> tuple[datetime, int]:
    """The receiver's time n seconds after noon, and when it came: 0.2 s late."""
    return NOON + timedelta(seconds=n), START_NS + round((n + 0.2) * NS_PER_S)


def hear(time: GnssTime, *seconds: float, off: timedelta = timedelta()) -> list[str]:
    return [time.hear(utc + off, now_ns, SHUT_DOWN_NS + now_ns) for utc, now_ns in map(second, seconds)]


@pytest.fixture
def known() -> GnssTime:
    """A receiver that is believed."""
    time = GnssTime()
    assert hear(time, *range(10)) == [""] * 10
    return time


def test_it_is_believed_once_five_sentences_agree() -> None:
    time = GnssTime()
    hear(time, *range(AGREEING - 1))
    assert time.offset_ns is None
    hear(time, AGREEING)
    assert time.offset_ns == NOON_NS - START_NS - 200 * NS_PER_MS


def test_the_sentence_that_came_soonest_is_the_nearest_to_the_truth() -> None:
    time = GnssTime()
    for n, late_ms in enumerate((400, 350, 90, 420, 380, 410)):
        time.hear(NOON + timedelta(seconds=n), n * NS_PER_S + late_ms * NS_PER_MS, 0)
    assert time.offset_ns == NOON_NS - 90 * NS_PER_MS


@pytest.mark.parametrize(
    "off", [timedelta(days=365), timedelta(days=-365), timedelta(weeks=-1024), timedelta(seconds=3)]
)
def test_a_leap_does_not_move_what_is_known_however_often_it_is_said(known: GnssTime, off: timedelta) -> None:
    before_ns = known.offset_ns
    assert all(hear(known, *range(10, 500), off=off))
    assert (known.offset_ns, known.doubted) == (before_ns, 490)
    assert hear(known, 501) == [""], "and the right time is known again at once"


def test_a_week_number_that_has_rolled_over_is_never_believed() -> None:
    time = GnssTime()
    whys = hear(time, *range(100), off=timedelta(weeks=-1024))
    assert time.offset_ns is None
    assert {why.partition(":")[0] for why in whys} == {"that has been"}


def test_a_week_number_that_has_rolled_over_shows_though_the_system_clock_begins_in_1970() -> None:
    time = GnssTime()
    for utc, now_ns in map(second, range(20)):
        time.hear(utc - timedelta(weeks=1024), now_ns, now_ns)
    assert (time.offset_ns, time.doubted) == (None, 20)


def test_a_time_before_the_last_shutdown_is_never_believed() -> None:
    time = GnssTime()
    hear(time, *range(20), off=timedelta(days=-30))
    assert (time.offset_ns, time.doubted) == (None, 20)


def test_two_times_that_take_turns_are_both_doubted() -> None:
    time = GnssTime()
    for n in range(50):
        hear(time, n, off=timedelta(days=365 * (n % 2)))
    assert time.offset_ns is None


def test_a_leap_before_it_is_believed_begins_the_count_anew() -> None:
    time = GnssTime()
    hear(
        time, 0, 1, 2, off=timedelta(seconds=-17)
    )  # as before the leap seconds have come from the satellites
    hear(time, 3, 4, 5, 6, 7)
    assert time.offset_ns is None
    hear(time, 8)
    assert time.offset_ns == NOON_NS - START_NS - 200 * NS_PER_MS


def test_a_quartz_that_drifts_is_followed_and_so_after_a_night_without_satellites(known: GnssTime) -> None:
    for n in range(10, 20_000, 10):
        assert hear(known, n, off=timedelta(seconds=n * 50e-6)) == [""]
    night = 20_000 + 12 * 3600
    off = timedelta(seconds=night * 50e-6)
    assert hear(known, *range(night, night + 70), off=off) == [""] * 70
    assert known.offset_ns == pytest.approx(NOON_NS - START_NS + night * 50e-6 * NS_PER_S, abs=0.3 * NS_PER_S)


# --- the whole way: bytes on a port to the agent's clock


def sentence(text: str) -> bytes:
    return b"$%s*%02X\r\n" % (text.encode(), reduce(lambda a, b: a ^ b, text.encode(), 0))


def rmc(utc: datetime, status: str = "A", mode: str = "A") -> bytes:
    place = "4807.038,N,01131.000,E"
    return sentence(f"GNRMC,{utc:%H%M%S}.00,{status},{place},022.4,084.4,{utc:%d%m%y},,,{mode}")


class Bench:
    """A receiver on a port, read by an agent's clock that is not set."""

    def __init__(self, clock: bool = False) -> None:
        self.cable = FakePort()
        self.clock = VirtualClock(START_NS - NS_PER_S, Wall(SHUT_DOWN_NS, synced=False))
        context = Context(self.clock, Buses(self.clock))
        self.sensor: Sensor = build("gps", Options(port=self.cable.path, clock=clock), context)
        self.sensor.open()
        self._near_end = os.open(self.cable.path, os.O_RDONLY | os.O_NOCTTY)
        self.hears(b"\n")

    def hears(self, *sentences: bytes) -> Wall:
        """What the clock says after a sentence each second."""
        for data in sentences:
            self.cable.send(data)
            assert select.select([self._near_end], [], [], 30.0)[0], (
                "the kernel hands it over in its own time"
            )
            self.sensor.read()
            self.clock.sleep_s(1.0)
        return self.clock.wall()

    def close(self) -> None:
        self.sensor.close()
        os.close(self._near_end)
        self.cable.unplug()


@pytest.fixture
def gps() -> Iterator[Bench]:
    bench = Bench(clock=True)
    yield bench
    bench.close()


def after(n: float) -> datetime:
    return NOON + timedelta(seconds=n)


def test_a_receiver_with_a_fix_gives_the_agent_its_time_and_says_so_once(
    gps: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wall = gps.hears(*(rmc(after(n)) for n in range(20)))
    assert wall == Wall(NOON_NS - START_NS, synced=True, source="gps")
    assert caplog.messages == ["sensor gps gives the agent its time: 2027-03-01 12:00:04+00:00"]


@pytest.mark.parametrize(
    "says",
    [
        lambda n: rmc(after(n), status="V"),
        lambda n: rmc(after(n), mode="N"),
        lambda n: rmc(after(n), mode="E"),
        lambda n: rmc(after(n), mode="S"),
        lambda n: rmc(after(n)).replace(b"4807", b"4808"),
        lambda n: sentence(f"GPZDA,{after(n):%H%M%S},01,03,2027,00,00"),
    ],
    ids=["void", "no fix", "dead reckoning", "simulator", "bad checksum", "ZDA, which does not say of a fix"],
)
def test_no_fix_or_a_bad_checksum_gives_no_time(gps: Bench, says: object) -> None:
    assert callable(says)
    assert not gps.hears(*(says(n) for n in range(9))).synced


def test_a_fix_that_comes_late_gives_the_time_when_it_comes(gps: Bench) -> None:
    assert not gps.hears(*(rmc(after(n), status="V") for n in range(30))).synced
    assert gps.hears(*(rmc(after(n)) for n in range(30, 36))).synced


def test_a_receiver_that_leaps_is_told_of_once_and_does_not_move_the_clock(
    gps: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    wall = gps.hears(*(rmc(after(n)) for n in range(10)))
    year = timedelta(days=365)
    assert gps.hears(*(rmc(after(n) + year) for n in range(10, 40))) == wall
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "sensor gps says that it is 2028-02-29 12:00:10+00:00, which is not believed: it has leapt"
    ]
    assert gps.sensor.counters()["times_doubted"] == 30


def test_the_systems_clock_counts_for_more_as_soon_as_it_is_set(gps: Bench) -> None:
    gps.hears(*(rmc(after(n)) for n in range(10)))
    system = Wall(NOON_NS - START_NS + 7 * NS_PER_MS, synced=True)
    gps.clock.set_wall(system)
    assert gps.hears(*(rmc(after(n)) for n in range(10, 15))) == system


def test_a_receiver_that_was_not_asked_for_the_time_gives_none() -> None:
    bench = Bench()
    assert not bench.hears(*(rmc(after(n)) for n in range(10))).synced
    assert "times_doubted" not in bench.sensor.counters()
    bench.close()
