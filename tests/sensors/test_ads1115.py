"""The ADS1115 driver beyond its case: ranges, and the time that conversions take."""

from __future__ import annotations

import pytest
from driving import next_block

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.ads1115 import Input, Options, build, layout


def on(clock: VirtualClock, options: Options) -> Sensor:
    sensor = build("adc", options, Context(clock, Buses(clock)))
    sensor.open()
    return sensor


# SBAS444, table 7-1
@pytest.mark.parametrize(
    ("full_scale", "microvolts"),
    [("6.144 V", 187.5), ("4.096 V", 125), ("2.048 V", 62.5), ("1.024 V", 31.25), ("0.512 V", 15.625),
     ("0.256 V", 7.8125)],
)  # fmt: skip
def test_a_count_is_worth_what_the_datasheet_says_in_every_range(full_scale: str, microvolts: float) -> None:
    clock = VirtualClock()
    channel = Input(name="x", input="a3", range=full_scale)  # type: ignore[arg-type]
    options = Options(bus="fake:ads1115", channels=(channel,), fake=Fake(raw=((0, 0, 0, 200_000),)))
    (channel_of_layout,) = layout(options).channels
    assert channel_of_layout.lsb == pytest.approx(microvolts * 1e-6)
    block = next_block(on(clock, options), clock)
    assert block.values[0, 0] == pytest.approx(0.2, abs=microvolts * 1e-6)


@pytest.mark.parametrize(
    ("pins", "volts"),
    [("a0", 0.1), ("a1", 0.2), ("a2", 0.4), ("a3", 0.8), ("a0-a1", -0.1), ("a0-a3", -0.7), ("a1-a3", -0.6),
     ("a2-a3", -0.4)],
)  # fmt: skip
def test_every_input_and_pair_is_where_its_name_says(pins: str, volts: float) -> None:
    clock = VirtualClock()
    row = (100_000, 200_000, 400_000, 800_000)
    channel = Input(name="x", input=pins, range="1.024 V")  # type: ignore[arg-type]
    sensor = on(clock, Options(bus="fake:ads1115", channels=(channel,), fake=Fake(raw=(row,))))
    assert next_block(sensor, clock).values[0, 0] == pytest.approx(volts, abs=40e-6)


def test_the_end_of_a_conversion_is_waited_for_though_the_chip_is_slower_than_its_name() -> None:
    clock = VirtualClock()
    sensor = on(clock, Options(bus="fake:ads1115", speed=8, channels=(Input(name="x", input="a0"),)))
    started_ns = clock.now_ns()
    next_block(sensor, clock)
    assert 1.08 / 8 <= (clock.now_ns() - started_ns) / NS_PER_S <= 1.2 / 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 40.0}, r"4 conversions take longer than 1/40 s; expected 29\.1 Hz at most"),
        ({"channels": ()}, "no channels"),
        (
            {"channels": (Input(name="x", input="a0"), Input(name="x", input="a1"))},
            "two channels are called 'x'",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        layout(Options(bus="i2c-1", **options))  # type: ignore[arg-type]
