"""Sensors without hardware: as many samples as time has passed, and the same as was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.errors import ConfigFault, StorageFault
from edgeagent.inference.bundle import own_bundles
from edgeagent.recording import Header, Label, Recording, Writer, block_entry, write_series
from edgeagent.records import NS_PER_S, Block, Channel, Layout
from edgeagent.sensors import Context, Sensor, random, recording, sine


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(5 * NS_PER_S)


@pytest.fixture
def context(clock: VirtualClock) -> Context:
    return Context(clock, Buses(clock))


def run(sensor: Sensor, clock: VirtualClock, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of all samples, read as an agent's reader does."""
    blocks, end_ns = [], clock.now_ns() + round(seconds * NS_PER_S)
    while sensor.due_ns() <= end_ns:
        clock.sleep_s((sensor.due_ns() - clock.now_ns()) / NS_PER_S)
        block = sensor.read()
        blocks += [block] if block else []
    return np.concatenate([b.t_mono_ns for b in blocks]), np.concatenate([b.values for b in blocks])


def test_ten_minutes_at_100_hz_are_60000_samples_a_period_apart(
    clock: VirtualClock, context: Context
) -> None:
    sensor = sine.build("wave", sine.Options(rate=100.0), context)
    sensor.open()
    t_ns, _ = run(sensor, clock, 600)
    assert abs(len(t_ns) - 60_000) <= 1
    assert set(np.diff(t_ns).tolist()) == {10_000_000}


def test_a_reader_that_was_held_up_gets_all_of_it_in_pieces(clock: VirtualClock, context: Context) -> None:
    sensor = sine.build("wave", sine.Options(rate=1000.0), context)
    sensor.open()
    clock.sleep_s(10)
    t_ns, values = run(sensor, clock, 0.5)
    assert len(values) == 10_500
    assert (np.diff(t_ns) == 1_000_000).all()


def test_noise_has_the_mean_and_deviation_that_was_asked_for(clock: VirtualClock, context: Context) -> None:
    shape = random.Options(rate=1000.0, mean=5.0, deviation=2.0, seed=1, channels={"a": "1", "b": "1"})
    sensor = random.build("noise", shape, context)
    sensor.open()
    _, values = run(sensor, clock, 20)
    assert values.mean(axis=0) == pytest.approx([5.0, 5.0], abs=0.1)
    assert values.std(axis=0) == pytest.approx([2.0, 2.0], abs=0.1)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.05


def test_the_same_seed_gives_the_same_noise_and_none_another(clock: VirtualClock, context: Context) -> None:
    def noise(seed: int | None) -> list[float]:
        sensor = random.build("noise", random.Options(seed=seed), context)
        sensor.open()
        return [float(value) for value in run(sensor, clock, 1)[1][:, 0]]

    assert noise(7) == noise(7) != noise(8)
    assert noise(None) != noise(None)


def test_the_shipped_recording_is_played_as_it_is_with_what_really_happened(
    clock: VirtualClock, context: Context
) -> None:
    folder = own_bundles() / "activity" / "recording"
    played = Recording(folder)
    (name,) = played.header.sensors
    sensor = recording.build("imu", recording.Options(folder=folder), context)
    sensor.open()
    opened_ns = clock.now_ns()
    _, values = run(sensor, clock, 20)
    assert np.array_equal(values, played.series(name)[1][: len(values)], equal_nan=True)
    first = played.header.labels[0]
    assert sensor.truth is not None
    began_ns = opened_ns + first.t_start_ns + round(NS_PER_S / played.header.sensors[name].rate_hz)
    assert sensor.truth(began_ns, began_ns + NS_PER_S // 10) == first.label


def test_what_is_true_is_true_again_the_next_time_round(
    tmp_path: Path, clock: VirtualClock, context: Context
) -> None:
    header = Header(1, {"a": Layout(10.0, (Channel("x", "1"),))}, labels=(Label("up", 0, NS_PER_S),))
    write_series(tmp_path / "r", header, "a", np.arange(20, dtype=np.float32).reshape(20, 1))
    sensor = recording.build("a", recording.Options(folder=tmp_path / "r"), context)
    sensor.open()
    zero_ns = clock.now_ns() + NS_PER_S // 10
    assert sensor.truth is not None
    half_ns = NS_PER_S // 2
    found = [sensor.truth(zero_ns + at * half_ns, zero_ns + at * half_ns + half_ns) for at in range(6)]
    assert found == ["up", "up", None, None, "up", "up"]


def test_a_cameras_recording_is_played_round_and_round_with_its_pictures(
    tmp_path: Path, clock: VirtualClock, context: Context
) -> None:
    layout = Layout(2.0, (Channel("size", "B"),), pictures=True)
    writer = Writer(tmp_path / "r", Header(1, {"front": layout}))
    for seq, (size, picture) in enumerate([(5.0, b"first"), (np.nan, b""), (6.0, b"third.")]):
        t_ns, values = np.array([seq * NS_PER_S // 2]), np.array([[size]], np.float32)
        block = Block("front", seq, t_ns, values, int(t_ns[0]), pictures=(picture,))
        writer.write(block_entry(block, layout, block.t_read_ns))
    writer.close()
    options = recording.Options(folder=tmp_path / "r")
    assert recording.layout(options) == layout
    sensor = recording.build("front", options, context)
    sensor.open()
    clock.sleep_s(2.0)
    read = sensor.read()
    assert read is not None
    assert read.pictures == (b"first", b"", b"third.", b"first")
    assert np.array_equal(read.values[:, 0], [5, np.nan, 6, 5], equal_nan=True)
    assert read.reasons == ("missing where it was recorded",)


@pytest.mark.parametrize(
    ("sensor", "says"),
    [("c", "no sensor 'c'.*sensor: a or b"), ("", "which sensor is not said.*sensor: a or b")],
)
def test_a_sensor_that_the_recording_does_not_have_is_a_fault_that_says_which_it_has(
    tmp_path: Path, sensor: str, says: str
) -> None:
    one = Layout(10.0, (Channel("x", "1"),))
    write_series(tmp_path / "r", Header(1, {"a": one, "b": one}), "a", np.zeros((2, 1), np.float32))
    with pytest.raises(ConfigFault, match=says):
        recording.layout(recording.Options(folder=tmp_path / "r", sensor=sensor))


def test_a_folder_that_is_no_recording_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match=r"expected a recording"):
        recording.layout(recording.Options(folder=tmp_path))


def test_a_wave_of_no_length_is_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigFault, match="how long one wave takes"):
        sine.Options(period=0.0)
