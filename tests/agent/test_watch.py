"""A sensor watched: what is kept of it, and what an unplugged cable looks like."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from edgeagent.agent.clock import ScaledClock, VirtualClock
from edgeagent.agent.watch import Watch
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor, lm75, serial_text
from edgeagent.sensors.lines import Column
from edgeagent.timebase import Clock

SPEED = 20.0


def thermometer(*degrees: float, rate_hz: float = 2.0, fake: Fake | None = None) -> Watch:
    clock = VirtualClock(7 * NS_PER_S)
    measures = fake or Fake(raw=tuple((round(c * 256),) for c in degrees))
    options = lm75.Options(bus="fake:lm75", rate=rate_hz, fake=measures)
    return Watch("t", lm75.build("t", options, Context(clock, Buses(clock))), clock)


def run(watch: Watch, seconds: float) -> None:
    end_s = watch.elapsed_s + seconds
    while watch.elapsed_s < end_s:
        watch.step()


def test_it_keeps_range_count_rate_and_the_last_value() -> None:
    watch = thermometer(20.0, 25.0, 18.5)
    run(watch, 30.0)
    (series,) = watch.series
    assert (series.low, series.high) == (18.5, 25.0)
    assert series.last in (20.0, 25.0, 18.5)
    assert watch.samples == pytest.approx(60, abs=2)
    assert watch.rate_hz() == pytest.approx(2.0, abs=0.2)
    assert watch.summary()["channels"]["temperature"]["unit"] == "degC"
    assert [state for _, state, _ in watch.changes] == ["ok"]


def test_the_curve_has_a_point_a_sample_where_the_sensor_is_slow() -> None:
    watch = thermometer(20.0, rate_hz=0.5)
    run(watch, 60.0)
    curve = watch.recent(watch.series[0])
    assert watch.bucket_s == 2.0
    assert [value for value in curve[-20:-1] if value is not None] == [20.0] * 19


def test_a_chip_that_does_not_answer_is_said_and_tried_again() -> None:
    watch = thermometer(fake=Fake(nak=9))
    run(watch, 20.0)
    assert [state for _, state, _ in watch.changes] == ["gone", "ok"]
    assert "nothing answers" in watch.changes[0][2]
    assert watch.errors()["i2c_naks"] == 9


def test_nothing_at_all_is_a_summary_too() -> None:
    watch = thermometer(fake=Fake(nak=1_000_000))
    run(watch, 3.0)
    summary = watch.summary()
    assert (summary["state"], summary["samples"], summary["channels"]) == ("gone", 0, {})


def plugged(port: FakePort, link: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(port.path)


def until(watch: Watch, state: str, port: FakePort | None = None) -> None:
    deadline = time.monotonic() + 60
    samples = watch.samples
    while watch.state != state or (port is not None and watch.samples < samples + 5):
        assert time.monotonic() < deadline, watch.summary()
        if port is not None:
            port.send(b"21.5\n")
        watch.step()


def test_an_unplug_and_replug_is_shown_and_what_was_known_stays(tmp_path: Path) -> None:
    link, clock = tmp_path / "usb-Uno", ScaledClock(SPEED, time.monotonic_ns())
    before, back = FakePort(), FakePort()
    watch = Watch("press", text_sensor(str(link), clock), clock)
    plugged(before, link)
    until(watch, "ok", before)
    known = watch.series[0]
    before.unplug()
    link.unlink()
    until(watch, "gone")
    assert math.isnan(known.last), "what was must not stand as the value of now"
    clock.sleep_s(2.0)
    plugged(back, link)
    until(watch, "ok", back)
    assert [state for _, state, _ in watch.changes] == ["ok", "gone", "ok"]
    assert watch.series[0] is known
    curve = watch.recent(known)
    ends = [i for i, value in enumerate(curve) if value is not None]
    assert None in curve[ends[0] : ends[-1]], "the curve has a hole while the cable is out"
    watch.close()
    back.unplug()


def text_sensor(path: str, clock: Clock) -> Sensor:
    options = serial_text.Options(port=path, channels=[Column(name="c", unit="degC")])
    return serial_text.build("press", options, Context(clock, Buses(clock)))


def test_a_line_that_is_no_number_is_missing_and_spoils_no_range(tmp_path: Path) -> None:
    port, clock = FakePort(), ScaledClock(SPEED, time.monotonic_ns())
    watch = Watch("press", text_sensor(port.path, clock), clock)
    watch.step()
    port.send(b"half\n21.5\nhello\n")
    deadline = time.monotonic() + 60
    while watch.samples < 2:
        assert time.monotonic() < deadline
        watch.step()
    (series,) = watch.series
    assert math.isnan(series.last)
    assert (series.low, series.high) == (21.5, 21.5)
    assert watch.summary()["missing"] == 1
    assert watch.summary()["channels"]["c"]["last"] is None
    assert "hello" in watch.summary()["reasons"][0]
    watch.close()
    port.unplug()
