"""Windows over several sensors lie on one grid of times; where one of them has a hole, they do too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.actuators.guard import Guard
from edgeagent.agent.fit import check
from edgeagent.config.schema import Part, Sampling
from edgeagent.decisions.rules import Rules
from edgeagent.errors import ConfigFault
from edgeagent.inference.tasks.classification import Classification, Output
from edgeagent.joined import JoinedWindows, Joining, join, keep_s
from edgeagent.pipeline import Arrival, Core, ModelPlan, PipelinePlan
from edgeagent.records import NS_PER_S, Block, Channel, Layout, Window
from edgeagent.sampling import uniform
from edgeagent.sampling.report import Report
from edgeagent.sampling.sampler import Sampler
from edgeagent.windows import Ring

IMU = Layout(100.0, (Channel("acc_x", "m/s2"), Channel("temperature", "degC")))
MOTOR = Layout(10.0, (Channel("current", "A"), Channel("temperature", "degC")))
WANTED = Layout(50.0, (Channel("acc_x", "m/s2"), Channel("motor.temperature", "degC")))
INPUTS = ("imu", "motor")
LENGTH_S, HOP_S = 2.0, 1.0


class Scene:
    """Two sensors whose every channel is, at each moment, the time in s; the motor began 37 ms later."""

    LATE = 0.037

    def __init__(self, wanted: Layout | None = WANTED, inputs: tuple[str, ...] = INPUTS) -> None:
        layouts = {"imu": IMU, "motor": MOTOR}
        self.rings = {name: Ring(layout, keep_s(LENGTH_S)) for name, layout in layouts.items()}
        joining = join(inputs, layouts, wanted, LENGTH_S)
        self.windows = JoinedWindows("p", self.rings, joining, LENGTH_S, HOP_S)

    def give(self, sensor: str, start_s: float, end_s: float, values: Any = None) -> list[Window]:
        """Its samples of a stretch of time, end excluded, in one block."""
        rate_hz, late_s = self.rings[sensor].layout.rate_hz, self.LATE if sensor == "motor" else 0.0
        t_s = np.arange(round(start_s * rate_hz), round(end_s * rate_hz)) / rate_hz + late_s
        t_ns = np.rint(t_s * NS_PER_S).astype(np.int64)
        rows = np.stack([t_s, t_s], axis=1) if values is None else np.full((len(t_s), 2), values)
        if len(t_ns):
            self.rings[sensor].add(Block(sensor, 0, t_ns, rows.astype(np.float32), int(t_ns[-1])))
        return list(self.windows.cut(7))


def test_both_sensors_are_seen_at_the_same_moments() -> None:
    scene = Scene()
    assert scene.give("imu", 0, 5) == []
    first, second, *_ = scene.give("motor", 0, 5)
    assert first.values.shape == (100, 2)
    assert (first.missing_fraction, first.rate_hz, first.layout, first.t_read_ns) == (0.0, 50.0, WANTED, 7)
    assert (first.t_start_ns, first.t_end_ns) == (37_000_000, 2_037_000_000), "from when both are there"
    assert second.t_start_ns - first.t_start_ns == NS_PER_S
    moments = 0.037 + np.arange(100) / 50
    np.testing.assert_allclose(first.values[10:-10, 0], moments[10:-10], atol=2e-3)
    np.testing.assert_allclose(first.values[:, 1], moments, atol=1e-5)


def test_a_window_waits_for_the_slower_sensor() -> None:
    scene = Scene()
    scene.give("motor", 0, 1)
    assert scene.give("imu", 0, 2.1) == []
    assert scene.give("motor", 1, 1.9) == []
    assert [w.seq for w in scene.give("motor", 1.9, 2.1)] == [1]


def test_a_hole_in_one_sensor_is_missing_in_the_window() -> None:
    scene = Scene()
    scene.give("imu", 0, 2.5)
    scene.give("motor", 0, 1)
    (window,) = scene.give("motor", 1.5, 2.1)
    assert window.missing_fraction == pytest.approx(0.6 / 2, abs=0.02), "from 0.937 to 1.537 of 2 s"
    assert not np.isnan(window.values).any(), "and bridged for the model, as of one sensor"


def test_a_reading_that_failed_is_missing_in_the_window() -> None:
    scene = Scene()
    scene.give("imu", 0, 2.5)
    scene.give("motor", 0, 1)
    scene.give("motor", 1, 1.1, values=np.nan)
    (window,) = scene.give("motor", 1.1, 2.1)
    assert window.missing_fraction == pytest.approx(0.2 / 2, abs=0.02)


def test_a_sensor_that_falls_silent_is_not_waited_for() -> None:
    scene = Scene()
    scene.give("motor", 0, 1)
    assert scene.give("imu", 0, 3) == []
    (window,) = scene.give("imu", 3, 3.1)
    assert window.missing_fraction == pytest.approx(0.55, abs=0.02)
    windows = scene.give("imu", 3.1, 9)
    assert [w.missing_fraction for w in windows] == [1.0] * 5
    assert windows[-1].seq == 6
    assert scene.windows.overrun == 0


def test_a_sensor_that_is_back_is_seen_again() -> None:
    scene = Scene()
    for second in range(20):
        scene.give("imu", second, second + 1)
        last = scene.give("motor", second, second + 1) if not 3 <= second < 12 else []
    assert last[-1].missing_fraction == 0.0


def test_windows_that_an_hour_without_samples_swallowed_are_counted_not_cut() -> None:
    scene = Scene()
    scene.give("imu", 0, 3)
    cut = len(scene.give("motor", 0, 3))
    cut += len(scene.give("imu", 3600, 3604))
    cut += len(scene.give("motor", 3600, 3604))
    assert scene.windows.overrun > 3580
    assert scene.windows.closed == scene.windows.overrun + cut == 3602


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=40))
def test_how_samples_are_split_into_blocks_changes_no_window(pieces: list[tuple[bool, int]]) -> None:
    whole, split = Scene(), Scene()
    whole.give("imu", 0, 8)
    expected = whole.give("motor", 0, 8)
    at, got = {"imu": 0, "motor": 0}, []
    for is_imu, tenths in [*pieces, *[(True, 4), (False, 4)] * 20]:
        sensor, other = ("imu", "motor") if is_imu else ("motor", "imu")
        until = min(at[sensor] + tenths, 80, at[other] + 5)  # neither falls silent for the other
        got += split.give(sensor, at[sensor] / 10, until / 10)
        at[sensor] = max(until, at[sensor])
    assert at == {"imu": 80, "motor": 80}
    assert [w.t_start_ns for w in got] == [w.t_start_ns for w in expected]
    for one, other_one in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.values, other_one.values)


def test_what_the_slower_rate_cannot_show_is_filtered_out() -> None:
    scene = Scene(Layout(10.0, (Channel("acc_x", "m/s2"),)), ("imu", "motor.current"))
    t_s = np.arange(300) / 100
    t_ns = np.rint(t_s * NS_PER_S).astype(np.int64)
    fast = np.sin(2 * np.pi * 31 * t_s)
    scene.rings["imu"].add(Block("imu", 0, t_ns, np.stack([fast, fast], axis=1).astype(np.float32), 0))
    window, _ = scene.windows.cut(0)
    assert np.abs(window.values[4:-4]).max() < 0.01


def test_without_a_model_every_channel_that_is_named_is_there() -> None:
    joining = join(("imu", "motor.current"), {"imu": IMU, "motor": MOTOR}, None, 1.0)
    assert joining.wanted.rate_hz == 100.0
    names = ["imu.acc_x", "imu.temperature", "motor.current"]
    assert [c.name for c in joining.wanted.channels] == names
    assert joining == Joining(joining.wanted, (("imu", 0), ("imu", 1), ("motor", 0)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "wanted", "said"),
    [
        (
            INPUTS,
            Channel("temperature", "degC"),
            "there are imu.temperature and motor.temperature; expected one",
        ),
        (
            INPUTS,
            Channel("gyro", "rad/s"),
            "wants channel gyro; expected one of the inputs': imu.acc_x, imu.temp",
        ),
        (INPUTS, Channel("current", "mA"), "motor.current is in A; expected mA"),
        (
            ("imu", "motor.curent"),
            WANTED.channels[0],
            "motor has no channel 'curent'; expected current or temp",
        ),
    ],
)
def test_what_does_not_fit_is_said(inputs: tuple[str, ...], wanted: Channel, said: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        join(inputs, {"imu": IMU, "motor": MOTOR}, Layout(50.0, (wanted,)), LENGTH_S)
    assert said in str(caught.value)


def test_a_sensor_without_a_sample_in_each_window_does_not_fit() -> None:
    slow = Layout(0.1, MOTOR.channels)
    with pytest.raises(
        ConfigFault, match="motor gives a sample each 10 s; expected one at least in a window of 2 s"
    ):
        join(INPUTS, {"imu": IMU, "motor": slow}, WANTED, LENGTH_S)


# --- in the core, and in the config ------------------------------------------------------------------


def core() -> Core:
    model = ModelPlan(
        "m",
        "toy",
        "1",
        {"m.tflite": "ab" * 32},
        "auto",
        Classification(Output(labels=["calm", "wild"], scores="probabilities")).read,
        max_missing=0.2,
    )
    return Core(
        [PipelinePlan("both", INPUTS, WANTED, LENGTH_S, HOP_S, Report("all"), model)],
        Rules({}, {"both": INPUTS, "imu": ("imu",), "motor": ("motor",)}, {}),
        Sampler(Sampling(policies={"all": Part("uniform", uniform.Options(uniform=1.0))}), "seed"),
        Guard({}),
        capture_s=0.0,
        truths={},
        conditions={},
    )


def samples(sensor: str, rate_hz: float, start_s: float, end_s: float) -> Block:
    t_ns = np.rint(np.arange(start_s * rate_hz, end_s * rate_hz) * NS_PER_S / rate_hz).astype(np.int64)
    return Block(sensor, 0, t_ns, np.full((len(t_ns), 2), 3.0, np.float32), int(t_ns[-1]))


def test_a_model_is_asked_about_two_sensors_and_a_sample_has_a_record_of_each() -> None:
    c = core()
    c.layout("imu", IMU, 0)
    assert c.block(samples("imu", 100, 0, 2), 2 * NS_PER_S).requests == []
    c.layout("motor", MOTOR, 0)
    assert c.block(samples("motor", 10, 2, 4.1), 4 * NS_PER_S).requests == []
    (request,) = c.block(samples("imu", 100, 2, 4.1), 4 * NS_PER_S).requests
    assert request.values.shape == (100, 2)
    prediction, *raw = c.arrival(Arrival("both", 1, (0.1, 0.9)), 4 * NS_PER_S).drafts
    assert prediction.body["label"] == "wild"
    assert [(d.body["sensor"], d.body["rate_hz"], d.body["samples"]) for d in raw] == [
        ("imu", 100.0, 200),
        ("motor", 10.0, 20),
    ]


def test_a_sensor_that_changes_begins_the_windows_anew_or_stops_them() -> None:
    c = core()
    for sensor, layout in (("imu", IMU), ("motor", MOTOR)):
        c.layout(sensor, layout, 0)
    c.block(samples("imu", 100, 0, 3), 0)
    assert len(c.block(samples("motor", 10, 0, 3), 0).requests) == 1
    c.layout("motor", Layout(10.0, MOTOR.channels[:1]), 0)
    assert "imu with motor does not fit its model: the model wants channel motor.temp" in c.unfit["both"]
    c.layout("motor", MOTOR, 0)
    assert c.unfit == {}
    c.block(samples("motor", 10, 3, 6), 0)
    (request,) = c.block(samples("imu", 100, 3, 6), 0).requests
    assert request.window_seq == 2


CONFIG = """\
device: {id: d}
sensors:
  imu: {driver: sine, rate: 50 Hz, channels: {acc_x: m/s2, t: degC}}
  motor: {driver: sine, rate: 10 Hz, channels: {current: A, t: degC}}
pipelines:
  both: {window: {length: 2 s}, input: %s}
"""


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("[imu, motor.current]", None),
        ("[imu]", None),
        ("motor.current", None),
        ("[imu, moter]", "6:46: pipelines.both.input[1]: there is no sensor 'moter', expected imu or motor"),
        ("[imu, imu]", "6:46: pipelines.both.input[1]: imu is named twice, expected each once"),
        ("[imu, motor.volts]", "imu with motor.volts does not fit one window: motor has no channel 'volts'"),
        ("[]", "6:33: pipelines.both.input: no sensor at all, expected at least one"),
    ],
)
def test_check_says_which_input_does_not_fit(tmp_path: Path, inputs: str, said: str | None) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(CONFIG % inputs)
    findings = [str(finding) for finding in check(path).findings]
    assert said in findings[0] if said else findings == []
