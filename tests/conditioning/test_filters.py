"""Each filter, over the channel of a config as a technician writes it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.agent.fit import check
from edgeagent.conditioning.chain import Conditioner, Conditions
from edgeagent.config import parts
from edgeagent.config.load import load, require
from edgeagent.records import NS_PER_S, Block, Channel, Layout

NAN = float("nan")
LAYOUT = Layout(10.0, (Channel("x", "degC", 0.5), Channel("y", "V", 0.25)))
EACH = {
    "offset": "offset: -0.5",
    "multiply": "multiply: 1.5",
    "calibrate": "calibrate: {measured: [1, 2], actual: [10, 20]}",
    "clamp": "clamp: {min: 0, max: 20}",
    "median": "median: 5",
    "moving_average": "moving_average: 4",
    "ema": "ema: 0.25",
    "delta": "delta: 2",
    "throttle": "throttle: 1 s",
    "unit": "unit: degF",
    "valid": "valid: {min: -10, max: 10}",
    "stuck": "stuck: 1 s",
}


@cache
def read(filters: str) -> Conditions:
    """A `condition:` for x, as the config has it."""
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(f"device: {{id: d}}\nsensors: {{s: {{driver: sine, condition: {{x: [{filters}]}}}}}}\n")
        file.flush()
        return require(load(Path(file.name))).sensors["s"].condition


class Conditioned:
    """A sensor of channels x and y at 10 Hz, x with filters."""

    def __init__(self, *filters: str) -> None:
        self.conditioner = Conditioner(read(", ".join(filters)), LAYOUT)
        self._seen = 0

    def block(self, x: list[float]) -> Block:
        """The next samples, as everything else sees them; y is always 0.1."""
        t_ns = (self._seen + np.arange(len(x))) * (NS_PER_S // 10)
        self._seen += len(x)
        values = np.array([[one, 0.1] for one in x], np.float32).reshape(-1, 2)
        return self.conditioner.block(Block("s", 0, t_ns, values, 0))

    def __call__(self, x: list[float]) -> list[float]:
        seen = self.block(x)
        assert (seen.values[:, 1] == np.float32(0.1)).all(), "what has no filter is left as it is"
        values: list[float] = seen.values[:, 0].tolist()
        return values


def test_each_filter_is_tried_here() -> None:
    assert parts.names("conditioning") == sorted(EACH)


@pytest.mark.parametrize(
    ("filters", "x", "expected"),
    [
        ("offset: -0.5", [1, NAN, 2], [0.5, NAN, 1.5]),
        ("multiply: 2", [1, NAN, -2], [2, NAN, -4]),
        # A 4-20 mA loop that shows 3.9 and 20.1; and a line nearest to three points: y = 2x + 1/3 by hand.
        ("calibrate: {measured: [3.9, 20.1], actual: [4, 20]}", [3.9, 12, 20.1], [4, 12, 20]),
        ("calibrate: {measured: [0, 1, 2], actual: [0, 3, 4]}", [0, 1, 2], [1 / 3, 7 / 3, 13 / 3]),
        ("clamp: {min: 0, max: 20}", [-1, 0, NAN, 20, 99], [0, 0, NAN, 20, 20]),
        ("clamp: {max: 20}", [-1, 99], [-1, 20]),
        ("median: 3", [1, 2, 99, 3, 4], [1, 1.5, 2, 3, 4]),
        ("median: 3", [1, NAN, 3, 5], [1, NAN, 2, 4]),
        ("moving_average: 2", [1, 2, NAN, 4, 6], [1, 1.5, NAN, 4, 5]),
        ("ema: 0.5", [0, 8, NAN, 8], [0, 4, NAN, 6]),
        ("delta: 2", [10, 11.9, NAN, 12, 11, 9.5], [10, 10, NAN, 12, 12, 9.5]),
        ("throttle: 0.3 s", [1, 2, 3, 4, 5], [1, 1, 1, 4, 4]),
        ("valid: {min: -40, max: 125}", [-40.5, -40, NAN, 125, 126], [NAN, -40, NAN, 125, NAN]),
        ("valid: {min: 0}", [-1, 1e6], [NAN, 1e6]),
        ("stuck: 0.2 s", [5, 5, 5, 5, 6, 5], [5, 5, NAN, NAN, 6, 5]),
        ("stuck: 0.2 s", [5, NAN, 5, 6], [5, NAN, NAN, 6]),
        # The fixed points of the scales, and absolute zero.
        ("unit: degF", [0, 100, -273.15], [32, 212, -459.67]),
        ("unit: K", [0, -273.15], [273.15, 0]),
    ],
)
def test_a_filter_does_what_its_name_says(filters: str, x: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(Conditioned(filters)(x), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("filters", EACH.values())
@settings(max_examples=30)
@given(x=st.lists(st.sampled_from([-20.0, -1.0, 0.0, 0.5, 3.0, 30.0, NAN]), max_size=40), data=st.data())
def test_how_samples_are_split_into_blocks_changes_nothing_and_what_is_missing_stays_missing(
    filters: str, x: list[float], data: st.DataObject
) -> None:
    whole, split = Conditioned(filters)(x), Conditioned(filters)
    pieces: list[float] = []
    rest = x
    while rest:
        n = data.draw(st.integers(1, len(rest)))
        pieces += split(rest[:n])
        rest = rest[n:]
    np.testing.assert_array_equal(pieces, whole)
    assert all(np.isnan(after) for before, after in zip(x, whole, strict=True) if np.isnan(before))


@pytest.mark.parametrize("filters", EACH.values())
def test_a_filter_writes_into_nothing_that_it_was_given(filters: str) -> None:
    values = np.array([[-20, 0.1], [30, 0.1]], np.float32)
    times: Any = np.array([0, 10 * NS_PER_S])
    for given_array in (values, times):
        given_array.flags.writeable = False
    Conditioned(filters).conditioner.block(Block("s", 0, times, values, 0))


def test_filters_are_applied_in_the_order_of_the_file() -> None:
    assert Conditioned("{offset: 1}", "{multiply: 10}")([1]) == [20]
    assert Conditioned("{multiply: 10}", "{offset: 1}")([1]) == [11]


def test_a_reading_that_is_taken_away_has_a_reason_and_is_counted() -> None:
    sensor = Conditioned("{valid: {min: -40, max: 125}}", "{stuck: 0.2 s}")
    assert sensor.block([20]).reasons == ()
    assert sensor.block([200, -50]).reasons == ("x is not from -40 to 125 degC",)
    assert sensor.block([20]).reasons == ("x has not changed for 0.2 s",)
    assert sensor.conditioner.missing == {
        "x is not from -40 to 125 degC": 2,
        "x has not changed for 0.2 s": 1,
    }


@pytest.mark.parametrize("name", EACH)
def test_an_lsb_stays_only_where_every_reading_is_still_a_count(name: str) -> None:
    x, y = Conditioned(EACH[name]).conditioner.layout.channels
    assert y == LAYOUT.channels[1]
    assert x.lsb == (0.5 if name in ("delta", "throttle", "valid", "stuck") else None)
    assert x.unit == ("degF" if name == "unit" else "degC")


def test_a_sensor_without_filters_hands_on_the_very_block() -> None:
    block = Block("s", 0, np.zeros(1, np.int64), np.zeros((1, 2), np.float32), 0)
    assert Conditioner({}, LAYOUT).block(block) is block


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "x: [{medain: 5}]",
            "sensors.s.condition.x[0]: unknown key 'medain', expected one of calibrate, clamp",
        ),
        ("x: [{multiply: 2, offset: 1}]", "two in one, multiply and offset, expected an entry for each"),
        (
            "x: [{unit: degQ}]",
            "condition.x[0].unit: not a unit that is known, found 'degQ', expected one of K",
        ),
        (
            "x: [{unit: hPa}]",
            "x[0].unit: x is in degC, which no hPa can be made of, expected a channel in Pa",
        ),
        ("x: [{unit: degF}, {unit: bar}]", "condition.x[1].unit: x is in degF, which no bar"),
        ("x: [{valid: {min: 5, max: 5}}]", "valid.min: the wrong way round, expected less than the max of 5"),
        ("x: [{clamp: {}}]", "condition.x[0].clamp: no limit at all, expected min, max or both"),
        ("x: [{median: 1}]", "condition.x[0].median: out of range, found 1"),
        ("x: [{ema: 0}]", "condition.x[0].ema: out of range, found 0"),
        ("x: [{stuck: 0 s}]", "condition.x[0].stuck: no time at all"),
        ("x: [{throttle: 5}]", "condition.x[0].throttle: no unit, found '5'"),
        ("x: [{throttle: 0 s}]", "condition.x[0].throttle: no time at all"),
        ("x: [{delta: 0}]", "condition.x[0].delta: no difference, found 0"),
        ("x: [{calibrate: {measured: [1, 1], actual: [0, 9]}}]", "measured: no line goes through that"),
        (
            "x: [{calibrate: {measured: [1, 2], actual: [0]}}]",
            "found 2 measured and 1 actual, expected pairs",
        ),
        ("z: [{median: 5}]", "sensors.s.condition.z: there is no channel 'z', expected x or y"),
    ],
)
def test_check_says_where_a_filter_makes_no_sense(tmp_path: Path, condition: str, said: str) -> None:
    path = tmp_path / "agent.yaml"
    channels = "[{name: x, unit: degC}, {name: y, unit: V}]"
    driver = f"driver: serial_text, port: /dev/serial/by-id/a, baud: 9600, rate: 10 Hz, channels: {channels}"
    path.write_text(
        f"device: {{id: d}}\nsensors:\n  s:\n    {driver.replace(', ', chr(10) + '    ', 3)}\n"
        f"    condition: {{{condition}}}\n"
    )
    path.write_text(path.read_text().replace(", channels", "\n    channels"))
    (fault,) = check(path).findings
    assert fault.line == 9
    assert fault.column > len("    condition: {")
    assert said in str(fault)


def test_a_model_is_fitted_to_what_the_filters_make(tmp_path: Path) -> None:
    """An accelerometer in g serves a model that wants m/s2, and no longer once it is taken away."""
    channels = ", ".join(f"{{name: acc_{a}, unit: g}}" for a in "xyz")
    channels += ", " + ", ".join(f"{{name: gyro_{a}, unit: rad/s}}" for a in "xyz")
    text = (
        "device: {id: d}\nmodels: {activity: {bundle: activity}}\n"
        "pipelines: {motion: {input: s, model: activity}}\n"
        "sensors: {s: {driver: serial_text, port: /dev/serial/by-id/a, baud: 9600, rate: 50 Hz, "
        f"channels: [{channels}]%s}}}}\n"
    )
    filters = ", ".join(f"acc_{a}: [{{unit: m/s2}}]" for a in "xyz")
    path = tmp_path / "agent.yaml"
    path.write_text(text % f", condition: {{{filters}}}")
    assert check(path).findings == []
    path.write_text(text % "")
    assert "the sensor gives acc_x in g, expected m/s2" in str(check(path).findings[0])
