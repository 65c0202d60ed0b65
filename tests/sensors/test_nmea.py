"""Sentences as the standard's own examples have them, and as receivers send them when all is not well."""

from __future__ import annotations

import math
import time
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.agent.clock import ScaledClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.port import FakePort
from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.nmea import Options, Receiver, build

GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
RMC = b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"
NO_GGA = b"$GPGGA,,,,,,0,00,99.99,,,,,,*48\r\n"
NO_RMC = b"$GPRMC,,V,,,,,,,,,,N*53\r\n"
FIX = (48.1173, 11.516667, 545.4, 22.4 * 1852 / 3600, 8.0, 0.9, 1.0)


def sentence(text: str) -> bytes:
    body = text.encode()
    return b"$%s*%02X\r\n" % (body, reduce(lambda a, b: a ^ b, body, 0))


def rmc(clock: str, date: str = "230394") -> bytes:
    return sentence(f"GPRMC,{clock},A,4807.038,N,01131.000,E,022.4,084.4,{date},003.1,W")


@pytest.fixture
def receiver() -> Receiver:
    receiver = Receiver()
    receiver.feed(b"9,M,,*47\r\n", 0)
    return receiver


@pytest.mark.parametrize(
    "data", [GGA + RMC, RMC + GGA, GGA + sentence("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1") + RMC]
)
def test_the_two_sentences_of_one_time_are_one_sample_in_any_order(receiver: Receiver, data: bytes) -> None:
    (fix,) = receiver.feed(data, 0)
    assert fix.values == pytest.approx(FIX, rel=1e-6)
    assert fix.reason == ""


def test_south_and_west_are_negative_whatever_constellation_speaks(receiver: Receiver) -> None:
    south = "123519,3323.0000,S,07038.4000,W"
    data = sentence(f"GNGGA,{south},4,12,0.7,520.0,M,28.0,M,1.0,0000") + sentence(
        f"GNRMC,123519,A,{south[7:]},,,230394,,,R"
    )
    (fix,) = receiver.feed(data, 0)
    assert fix.values[:2] == pytest.approx((-33.383333, -70.64))
    assert (fix.values[4], fix.values[6]) == (12.0, 4.0)
    assert fix.reason == "the receiver does not say speed"


def test_no_fix_is_a_sample_that_says_so_and_no_place(receiver: Receiver) -> None:
    fixes = receiver.feed((NO_RMC + NO_GGA) * 2, 0)
    assert len(fixes) == 2
    for fix in fixes:
        assert [v for v in fix.values if not math.isnan(v)] == [0.0, 0.0]  # satellites and fix
        assert fix.reason == "no fix: it does not see enough satellites"


def test_a_place_in_a_sentence_that_is_marked_void_is_not_believed(receiver: Receiver) -> None:
    data = sentence("GPRMC,123519,V,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W")
    (fix,) = receiver.feed(data + GGA, 0)
    assert math.isnan(fix.values[0])


def test_a_bad_checksum_is_counted_and_its_sentence_is_missing(receiver: Receiver) -> None:
    spoilt = GGA.replace(b"4807", b"4907")
    fixes = receiver.feed(RMC + spoilt + rmc("123520"), 0)
    assert receiver.counts["bad_checksum"] == 1
    assert fixes[0].values[0] == pytest.approx(48.1173)
    assert fixes[0].reason == "the receiver does not say altitude, satellites, hdop"


def test_a_receiver_that_sends_only_one_kind_is_read_at_the_next(receiver: Receiver) -> None:
    assert receiver.feed(rmc("123519"), 0) == []
    assert len(receiver.feed(rmc("123520"), NS_PER_S)) == 1
    assert len(receiver.feed(rmc("123521"), 2 * NS_PER_S)) == 1


def test_a_leap_to_another_time_is_counted_and_midnight_is_none(receiver: Receiver) -> None:
    for second, (clock, date) in enumerate(
        [("235958", "311299"), ("235959", "311299"), ("000000", "010100")]
    ):
        receiver.feed(rmc(clock, date), second * NS_PER_S)
    assert receiver.counts["time_leaps"] == 0
    receiver.feed(rmc("000001", "180819"), 3 * NS_PER_S)  # a week number that was wrong for 1024 weeks
    assert receiver.counts["time_leaps"] == 1
    receiver.feed(rmc("000002", "180819"), 4 * NS_PER_S)
    assert receiver.counts["time_leaps"] == 1


@pytest.mark.parametrize(
    "line",
    [
        sentence("GPGGA,12,x,y"),
        sentence("GPGGA,123519,4807.038,N,01131.000,E,z,08,0.9,545.4,M,46.9,M,,"),
        b"$GPGGA\r\n",
        b"$\r\n",
        b"\xb5\x62\x01\x07\x5c\x00\r\n",
        b"$" + b"9" * 5000 + b"*00\r\n",
    ],
    ids=repr,
)
def test_what_is_no_sound_sentence_is_counted_and_the_next_is_read(receiver: Receiver, line: bytes) -> None:
    receiver.feed(line, 0)
    assert sum(receiver.counts.values()) == 1
    assert receiver.feed(GGA + RMC, 0)[-1].values == pytest.approx(FIX, rel=1e-6)


def test_a_field_that_is_no_number_is_missing_with_its_reason(receiver: Receiver) -> None:
    strange = sentence("GPGGA,123519,48x7.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,")
    (fix,) = receiver.feed(strange + RMC, 0)
    assert math.isnan(fix.values[0])
    assert fix.values[1:] == pytest.approx(FIX[1:], rel=1e-6)
    assert fix.reason == "the receiver does not say latitude"


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.text("GPRMCA,.0123456789NEVW", max_size=60).map(sentence)),
        max_size=9,
    )
)
def test_nothing_that_comes_ends_the_receiver(pieces: list[bytes]) -> None:
    receiver = Receiver()
    for piece in pieces:
        receiver.feed(piece + b"\n", 0)
    assert receiver.feed(b"\n" + GGA + RMC, 0)[-1].values == pytest.approx(FIX, rel=1e-6)


def test_a_position_is_good_to_two_metres_in_a_sample(receiver: Receiver) -> None:
    cable = FakePort()
    clock = ScaledClock(1.0, time.monotonic_ns())
    sensor = build("gps", Options(port=cable.path), Context(clock, Buses(clock)))
    sensor.open()
    east = "123519,4807.038,N,17959.9876,E"
    cable.send(
        b"\n"
        + sentence(f"GPGGA,{east},1,08,0.9,5.4,M,46.9,M,,")
        + sentence(f"GPRMC,123519,A,{east[7:]},0,0,230394,,")
    )
    block = next(iter(filter(None, (sensor.read() for _ in range(50)))))
    assert abs(float(block.values[0, 1]) - (179 + 59.9876 / 60)) * 111_320 < 2
    sensor.close()
    cable.unplug()


@pytest.mark.parametrize(("sent", "found"), [(b"", "not one byte"), (b"\xf8\x80\x00" * 5 + b"\n", "only ")])
def test_a_port_where_no_receiver_speaks_is_a_fault_that_says_what_does(sent: bytes, found: str) -> None:
    cable = FakePort()
    clock = ScaledClock(100.0, time.monotonic_ns())
    sensor = build("gps", Options(port=cable.path), Context(clock, Buses(clock)))
    sensor.open()
    cable.send(sent)
    with pytest.raises(DeviceFault, match=rf"no RMC or GGA for 10 s, {found}.*Check `baud`"):
        read_on(sensor)
    sensor.close()
    cable.unplug()


def read_on(sensor: Sensor) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sensor.read()
