"""What every sensor driver keeps to. A driver is tested by existing; what it needs is a case in `tests/testcases/`.

A case is a folder with a `config.yaml` of one sensor, `expected.json` (layout and first rows in SI units, null for
NaN) and what is at the other end of the wire: `recording.json` is what a fake chip measures, `printed.bin` what a
device on the serial port PORT prints, `board.json` what a board of firmware_bridge on PORT measures, a folder the files
that it reads. A fake chip or device of the config's own needs nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

import msgspec
import numpy as np
import pytest

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.config import parts
from edgeagent.config.load import load, require
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.recording import Header, write_series
from edgeagent.records import NS_PER_S, Block, Channel, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock

TESTCASES = Path(__file__).parent.parent / "testcases"
PATIENCE_S = 60.0


class Cable(Protocol):
    """What a device hangs on: a config names it by its path, and it can be pulled."""

    path: str

    def unplug(self) -> None: ...


class Printer(FakePort):
    """A device that prints when its port is opened."""

    def __init__(self, printed: bytes) -> None:
        super().__init__()
        self._printed = printed

    def print(self) -> None:
        self.send(self._printed)


class Case:
    """One case folder, connected: `build` makes the sensor that its config describes."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.expected = json.loads((folder / "expected.json").read_text())
        self.cable: Cable | None = None
        self.clock: Clock = VirtualClock(7 * NS_PER_S)
        self._stop = Event()
        self._threads: list[Thread] = []
        self._connect(folder, work)
        text = (folder / "config.yaml").read_text()
        path = work / "config.yaml"
        path.write_text(text.replace("PORT", self.cable.path if self.cable else ""))
        ((self.name, entry),) = require(load(path)).sensors.items()
        self.module = parts.find("sensors", entry.part.file)
        self.options = entry.part.options

    def _connect(self, folder: Path, work: Path) -> None:
        if (folder / "recording.json").exists():
            play(json.loads((folder / "recording.json").read_text()), work / "recording")
        for files in folders_in(folder):
            shutil.copytree(files, work / files.name)
        if (folder / "printed.bin").exists():
            self.clock, self.cable = RealClock(), Printer((folder / "printed.bin").read_bytes())
        if (folder / "modbus.json").exists():
            from modbus_server import served

            self.clock, self.cable = RealClock(), served(json.loads((folder / "modbus.json").read_text()))
        if (folder / "board.json").exists():
            self.clock = RealClock()
            self.cable = board = board_of(json.loads((folder / "board.json").read_text()), self.clock)
            self._threads.append(Thread(target=board.serve, args=(self._stop,)))
            self._threads[-1].start()

    def build(self) -> Sensor:
        sensor: Sensor = self.module.build(self.name, self.options, Context(self.clock, Buses(self.clock)))
        return sensor

    def open(self, sensor: Sensor) -> None:
        sensor.open()
        if isinstance(self.cable, Printer):
            self.cable.print()

    def read(self, sensor: Sensor, rows: int) -> list[Block]:
        """Blocks with at least so many rows in all, read when due."""
        blocks: list[Block] = []
        deadline = time.monotonic() + PATIENCE_S
        while sum(len(b.values) for b in blocks) < rows:
            assert time.monotonic() < deadline, f"{rows} rows did not come: {sensor.counters()}"
            self.clock.sleep_s(max(sensor.due_ns() - self.clock.now_ns(), 0) / NS_PER_S)
            block = sensor.read()
            blocks += [block] if block else []
        return blocks

    def disconnect(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.cable:
            self.cable.unplug()


def play(what: dict[str, Any], folder: Path) -> None:
    """Write the recording that a fake chip measures."""
    channels = tuple(Channel(name, unit) for name, unit in what["channels"].items())
    header = Header(1, {"imu": Layout(what["rate_hz"], channels)})
    write_series(folder, header, "imu", np.array(what["samples"], np.float32))


def board_of(what: dict[str, float], clock: Clock) -> VirtualBoard:
    """A board that measures always the same."""
    always = what["temperature"], what["current"]
    return VirtualBoard(clock, firmware=Firmware(lambda _t_s, _relay_on: always, rate_hz=what["rate_hz"]))


def folders_in(case: Path) -> list[Path]:
    """Of files that its driver reads."""
    return [path for path in case.iterdir() if path.is_dir()]


ALL_CASES = sorted(p.parent for p in TESTCASES.glob("*/config.yaml"))
RECORDED = [folder for folder in ALL_CASES if (folder / "traffic.jsonl").exists()]  # test_recorded_traffic.py
CASES = [folder for folder in ALL_CASES if folder not in RECORDED]
WITH_CABLE = [folder for folder in CASES if ": PORT" in (folder / "config.yaml").read_text()]
ON_FAKE_BUS = [folder for folder in CASES if "bus: fake:" in (folder / "config.yaml").read_text()]
ON_FAKE_LINE = [
    folder for folder in CASES if re.search(r'(port|host): "?fake:', (folder / "config.yaml").read_text())
]
IN_FILES = [folder for folder in CASES if folders_in(folder)]


@pytest.fixture(params=CASES, ids=lambda p: p.name)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    case = Case(request.param, tmp_path)
    yield case
    case.disconnect()


@pytest.fixture
def sensor(case: Case) -> Iterator[Sensor]:
    sensor = case.build()
    yield sensor
    sensor.close()


def first_rows(blocks: list[Block], n: int) -> Any:
    return np.concatenate([b.values for b in blocks])[:n]


@pytest.mark.parametrize("driver", parts.names("sensors"))
def test_every_driver_has_a_case(driver: str) -> None:
    assert any(f"driver: {driver}" in (folder / "config.yaml").read_text() for folder in CASES), (
        f"a case folder in {TESTCASES} with `driver: {driver}`"
    )


@pytest.mark.parametrize("folder", CASES, ids=lambda p: p.name)
def test_every_case_says_where_its_numbers_come_from(folder: Path) -> None:
    assert json.loads((folder / "expected.json").read_text())["why"]


def test_values_come_out_in_si_units_as_the_datasheet_says(case: Case, sensor: Sensor) -> None:
    expected = np.array(case.expected["rows"], dtype=float)
    case.open(sensor)
    assert first_rows(case.read(sensor, len(expected)), len(expected)) == pytest.approx(
        expected, rel=1e-5, abs=1e-8, nan_ok=True
    )


def test_the_layout_is_known_when_open_and_is_the_one_foretold(case: Case, sensor: Sensor) -> None:
    foretold = case.module.layout(case.options)
    case.open(sensor)
    case.read(sensor, 1)
    assert sensor.layout is not None
    assert foretold in (None, sensor.layout)
    assert sensor.layout.rate_hz == case.expected["rate_hz"]
    assert {c.name: c.unit for c in sensor.layout.channels} == case.expected["channels"]


def test_blocks_are_numbered_timed_and_shaped_as_the_records_say(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    blocks = case.read(sensor, len(case.expected["rows"]))
    assert [b.seq for b in blocks] == list(range(blocks[0].seq, blocks[0].seq + len(blocks)))
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    assert (np.diff(t_ns) > 0).all()
    for block in blocks:
        assert block.sensor == case.name
        assert block.t_mono_ns.dtype == np.dtype(np.int64)
        assert block.values.dtype == np.dtype(np.float32)
        assert block.values.shape == (len(block.t_mono_ns), len(case.expected["channels"]))
        assert block.t_mono_ns[-1] <= block.t_read_ns <= case.clock.now_ns()
        assert block.lost == 0
        assert bool(block.reasons) == bool(np.isnan(block.values).any()), "NaN has a reason, and only NaN has"


def test_building_a_sensor_opens_nothing(case: Case) -> None:
    case.disconnect()
    case.build()


def test_read_of_a_closed_sensor_is_a_fault(case: Case, sensor: Sensor) -> None:
    with pytest.raises(DeviceFault, match="not open"):
        sensor.read()
    case.open(sensor)
    sensor.close()
    with pytest.raises(DeviceFault, match="not open"):
        sensor.read()


def test_close_may_come_at_any_time_and_twice(case: Case, sensor: Sensor) -> None:
    sensor.close()
    case.open(sensor)
    sensor.close()
    sensor.close()


def test_a_sensor_can_be_opened_again_and_counts_on(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    before = case.read(sensor, 1)
    sensor.close()
    case.open(sensor)
    after = case.read(sensor, 1)
    assert after[0].seq > before[-1].seq
    assert after[0].t_mono_ns[0] > before[-1].t_mono_ns[-1]


def test_opening_again_without_closing_works_too(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    case.open(sensor)
    assert case.read(sensor, 1)


@pytest.mark.parametrize("case", WITH_CABLE, indirect=True, ids=lambda p: p.name)
def test_a_device_whose_cable_is_pulled_is_gone(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    case.disconnect()
    with pytest.raises(DeviceGone):
        case.read(sensor, 1_000_000)
    sensor.close()
    with pytest.raises(DeviceGone):
        sensor.open()


ON_SERIAL_PORT = [folder for folder in CASES if "port: PORT" in (folder / "config.yaml").read_text()]


@pytest.mark.parametrize("case", ON_SERIAL_PORT, indirect=True, ids=lambda p: p.name)
def test_a_port_that_is_named_by_order_of_arrival_is_warned_of(case: Case) -> None:
    numbered = msgspec.structs.replace(case.options, port="/dev/ttyUSB97")
    (advice,) = set(case.module.advise(numbered)) - set(case.module.advise(case.options))
    assert advice.key == "port"
    assert "/dev/serial/by-id/" in advice.text
    assert "port" not in {advice.key for advice in case.module.advise(case.options)}


def test_a_read_that_waits_can_be_woken_or_never_waits(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    if sensor.wake is not None:
        sensor.wake()
    started_ns = case.clock.now_ns()
    sensor.read()
    most_s = 1.0 if isinstance(case.clock, VirtualClock) else PATIENCE_S  # real time stalls on a busy machine
    assert case.clock.now_ns() - started_ns < most_s * NS_PER_S


def test_counters_are_numbers_with_names(case: Case, sensor: Sensor) -> None:
    case.open(sensor)
    case.read(sensor, 1)
    counters = sensor.counters()
    assert counters
    assert all(name.isidentifier() and isinstance(value, int | float) for name, value in counters.items())
