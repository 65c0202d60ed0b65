"""Bus traffic recorded on fakes and run again without them: on a clock that stands still, and on the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.traffic import Listener, Recorder, rerun
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.spy import read_traffic
from edgeagent.config.load import load, require
from edgeagent.errors import ConfigFault, StorageFault
from edgeagent.timebase import Clock

SENSORS = {
    "a_fifo": "{driver: mpu6050, bus: 'fake:mpu6050', rate: 50 Hz}",
    "conversions": "{driver: ads1115, bus: 'fake:ads1115', rate: 20 Hz}",
    "no_acknowledge": "{driver: lm75, bus: 'fake:lm75', rate: 3 Hz, fake: {nak: 5}}",
    "a_stuck_bus": "{driver: lm75, bus: 'fake:lm75', rate: 3 Hz, fake: {stuck: on}}",
    "no_such_bus": "{driver: lm75, bus: i2c-77, rate: 3 Hz}",
    "sentences": "{driver: nmea, port: 'fake:gps', rate: 5 Hz, fake: {rate: 5 Hz, noise: 2}}",
    "lines": "{driver: serial_text, port: 'fake:printer', rate: 10 Hz, fake: {rate: 10 Hz, garbage: 2}, "
    "channels: [{name: a, unit: A}, {name: b, unit: degC}]}",
    "a_dead_line": "{driver: serial_text, port: /dev/ttyUSB99, channels: [{name: a, unit: A}]}",
    "answers": "{driver: modbus_rtu, port: 'fake:meter', device_id: 3, rate: 5 Hz, fake: {noise: 3}, "
    "registers: {a: {address: 3, unit: V}, b: {address: 9, kind: coil, unit: '1'}}}",
    "answers_over_tcp": "{driver: modbus_tcp, host: 'fake:meter', rate: 5 Hz, registers: {a: {address: 3, unit: V}}}",
    "frames": "{driver: bridge, port: 'fake:board', rate: 20 Hz, fake: {half: 3}}",
}
SILENT = ("a_stuck_bus", "no_such_bus", "a_dead_line")
CLOCKS: dict[str, Callable[[], Clock]] = {"virtual": lambda: VirtualClock(10**9), "real": RealClock}


def recorded(folder: Path, name: str, clock: Clock, seconds: float = 1.5) -> Listener:
    """Record a sensor of SENSORS into `folder / "case"`."""
    config = folder / "edgeagent.yaml"
    config.write_text(f"device: {{id: a}}\nsensors:\n  s: {SENSORS[name]}\n")
    recorder = Recorder("s", require(load(config)).sensors["s"].part, clock)
    recorder.run(seconds)
    until(recorder, lambda: recorder.heard.rows > 0 or name in SILENT)
    recorder.stop()
    recorder.write(folder / "case", config)
    return recorder.heard


def values(heard: Listener) -> list[bytes]:
    return [block.values.tobytes() for block in heard.blocks]


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", SENSORS)
def test_what_was_recorded_gives_the_same_blocks_without_the_device(
    tmp_path: Path, name: str, clock: str
) -> None:
    then = recorded(tmp_path, name, CLOCKS[clock]())
    again = rerun(tmp_path / "case")
    assert values(again) == values(then)
    if clock == "virtual":  # real time may have held up who asks, which is nothing that goes over a line
        assert [b.lost for b in again.blocks] == [b.lost for b in then.blocks]
    assert [b.reasons for b in again.blocks] == [b.reasons for b in then.blocks]
    assert (again.layout, again.state) == (then.layout, then.state)
    assert (then.rows > 0) != (name in SILENT)


def test_a_cable_that_is_pulled_while_recording_is_pulled_in_the_case_too(tmp_path: Path) -> None:
    cable = FakePort()
    config = tmp_path / "edgeagent.yaml"
    options = f"driver: serial_text, port: {cable.path}, channels: [{{name: a, unit: A}}]"
    config.write_text(f"device: {{id: a}}\nsensors:\n  s: {{{options}}}\n")
    recorder = Recorder("s", require(load(config)).sensors["s"].part, RealClock())
    until(recorder, lambda: recorder.heard.state == "ok")
    cable.send(b"half a line\n1.5\n2.5\n")
    until(recorder, lambda: recorder.heard.rows == 2)
    cable.unplug()
    until(recorder, lambda: recorder.heard.state == "gone")
    recorder.stop()
    recorder.write(tmp_path / "case", config)
    again = rerun(tmp_path / "case")
    assert again.state == "gone"
    assert values(again) == values(recorder.heard)


def until(recorder: Recorder, true: Callable[[], bool]) -> None:
    while not true():
        assert recorder.elapsed_s < 60
        recorder.run(recorder.elapsed_s + 0.05)


def test_a_case_says_what_came_in_the_form_of_the_contracts_cases(tmp_path: Path) -> None:
    then = recorded(tmp_path, "answers", VirtualClock())
    expected = json.loads((tmp_path / "case" / "expected.json").read_text())
    assert expected["channels"] == {"a": "V", "b": "1"}
    assert expected["rate_hz"] == 5.0
    assert expected["rows"][-1] == then.blocks[-1].values[-1].tolist()
    assert len(expected["rows"]) == then.rows


def test_a_driver_that_asks_a_chip_for_something_else_is_told_where_it_parted(tmp_path: Path) -> None:
    recorded(tmp_path, "a_fifo", VirtualClock())
    config = tmp_path / "case" / "config.yaml"
    config.write_text(config.read_text().replace("50 Hz", "100 Hz"))
    with pytest.raises(ConfigFault, match=r"line \d+ of the recorded traffic: .*record the traffic anew"):
        rerun(tmp_path / "case")


def test_a_case_is_never_written_over(tmp_path: Path) -> None:
    recorded(tmp_path, "lines", VirtualClock())
    with pytest.raises(StorageFault, match="is there already"):
        recorded(tmp_path, "lines", VirtualClock())


def test_a_damaged_line_of_traffic_is_named(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text('{"t_ns":1,"what":"open"}\n{"t_ns":2,"what":"sing"}\n')
    with pytest.raises(ConfigFault, match=r"traffic.jsonl:2"):
        read_traffic(file)


def test_what_the_driver_says_in_closing_is_no_part_of_the_recording(tmp_path: Path) -> None:
    recorded(tmp_path, "frames", VirtualClock())
    events = read_traffic(tmp_path / "case" / "traffic.jsonl")
    assert [event.what for event in events].index("end") == len(events) - 1
