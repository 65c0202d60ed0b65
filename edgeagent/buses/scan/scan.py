"""The whole scan."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.buses.scan.found import Findings
from edgeagent.buses.scan.i2c import scan_i2c
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.serial import LISTEN_S, scan_serial
from edgeagent.buses.scan.sysfs import scan_sysfs


def scan(
    machine: Machine,
    listen_s: float = LISTEN_S,
    progress: Callable[[str], None] = lambda _: None,
    *,
    modbus: bool = False,
) -> Findings:
    """Everything that is attached. `progress` is told what comes next. Raises nothing."""
    progress("I2C buses")
    found = scan_i2c(machine)
    progress("serial ports" + (f", {listen_s:g} s each" if listen_s else ""))
    found += scan_serial(machine, listen_s, modbus=modbus)
    return found + Findings(tuple(scan_sysfs(machine)), ())
