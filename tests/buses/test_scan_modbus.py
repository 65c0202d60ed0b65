"""Modbus devices are found if one asks for it, on a real server behind a serial line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from modbus_server import SerialLine, device

from edgeagent.agent.clock import RealClock
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.serial import scan_serial
from edgeagent.buses.scan.suggest import suggest
from edgeagent.config.load import load
from edgeagent.demo.workbench import lay

LISTEN_S = 0.05


@pytest.fixture
def line() -> Iterator[SerialLine]:
    with SerialLine(device(3, holding={0: [7]}), device(9, holding={100: [1]})) as line:
        yield line


@pytest.fixture
def machine(tmp_path: Path, line: SerialLine) -> Machine:
    lay(tmp_path, "sys/class/tty/ttyUSB0/device/", "")
    lay(tmp_path, "dev/ttyUSB0", f"-> {line.path}")
    return Machine(RealClock(), tmp_path)


def test_devices_on_a_silent_line_are_found_by_their_numbers_when_asked_for(
    machine: Machine, tmp_path: Path
) -> None:
    first, second = scan_serial(machine, LISTEN_S, modbus=True).devices
    assert (first.name, second.name) == ("Modbus device 3", "Modbus device 9")
    assert first.why == "answers at 9600 baud, parity none"
    assert "no holding register 0" in second.why
    assert second.sensor is None
    file = tmp_path / "edgeagent.yaml"
    file.write_text("device: {id: x}\n" + suggest((first, second), {"modbus_rtu": ""}))
    assert [f for f in load(file).findings if f.severity == "fault"] == []


def test_nobody_is_asked_who_was_not_to_be(machine: Machine, line: SerialLine) -> None:
    (port,) = scan_serial(machine, LISTEN_S).devices
    assert port.why == "silent"
    assert line.requests == []
