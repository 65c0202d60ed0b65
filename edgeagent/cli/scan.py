"""Find what is attached: I2C chips, serial ports, cameras, accelerators; `--yaml` prints them as `sensors:`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

import click
import msgspec

from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.buses.scan.found import Device, Findings
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.scan import scan
from edgeagent.buses.scan.suggest import suggest
from edgeagent.cli import OK, Duration
from edgeagent.config.catalogue import sensor_drivers
from edgeagent.config.parts import pip_install
from edgeagent.errors import ConfigFault

FAKE_SPEED = 10.0
KINDS = {
    "i2c": "I2C",
    "serial": "serial port",
    "camera": "camera",
    "iio": "IIO device",
    "accelerator": "accelerator",
    "gpio": "GPIO",
}


@click.command(name="scan")
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="A `sensors:` block for the config, with names that stay."
)
@click.option(
    "--listen",
    "listen_s",
    type=Duration(),
    default="3 s",
    show_default=True,
    help="How long to listen on each serial port; `0 s` opens none (opening one resets many Arduinos).",
)
@click.option("--modbus", is_flag=True, help="Ask for Modbus devices on ports that are silent (8 s each).")
@click.option("--fake", type=click.Choice(["demo"]), help="Scan a workbench that is not there instead.")
def command(as_json: bool, as_yaml: bool, listen_s: float, modbus: bool, fake: str | None) -> int:
    """Find what is attached: I2C chips, serial ports, cameras, accelerators; `--yaml` prints them as `sensors:`.

    Disturbs nothing that it need not: reads only, and leaves alone what another program or the kernel has.
    """
    if modbus and find_spec("pymodbus") is None:
        raise ConfigFault("--modbus needs pymodbus", hint=f"Install it: {pip_install('edgeagent[modbus]')}.")
    progress = _say if sys.stderr.isatty() else lambda _: None
    with _workbench() if fake else nullcontext(Machine(RealClock())) as machine:
        found = scan(machine, listen_s, progress, modbus=modbus)
    if as_json:
        print(msgspec.json.encode(found).decode())
    elif as_yaml:
        print(suggest(found.devices, _drivers()), end="")
    else:
        show(found)
    return OK


def _drivers() -> dict[str, str]:
    """Those that there are, each with why it cannot read what was found, or ""."""
    troubles = {driver.name: driver.trouble for driver in sensor_drivers()}
    if find_spec("linuxpy") is None:
        troubles["camera"] = f"needs linuxpy, which is not installed: {pip_install('edgeagent[v4l2]')}"
    return troubles


@contextmanager
def _workbench() -> Iterator[Machine]:
    from edgeagent.demo.workbench import Workbench

    clock = RealClock()
    with Workbench(ScaledClock(FAKE_SPEED, clock.now_ns())) as bench:
        yield bench.machine


def _say(what: str) -> None:
    print(f"looking at {what} ...", file=sys.stderr)


def show(found: Findings) -> None:
    """For people: a table a kind, then what was left alone."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    for kind, title in KINDS.items():
        devices = [device for device in found.devices if device.kind == kind]
        if not devices:
            continue
        table = Table(title, box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
        table.add_column("", overflow="fold")  # a name that is cut off cannot be copied
        for device in devices:
            table.add_row(Text(_short(device), style="bold", no_wrap=True), Text.assemble(*_said(device)))
        console.print(table)
    if not found.devices:
        console.print(
            "Nothing was found: check cables and power. `edgeagent scan --fake demo` shows how it looks."
        )
    if found.left:
        console.print("left alone:", style="dim")
        for left in found.left:
            console.print(Text(f"  {left.place}: {left.reason}", style="dim"), soft_wrap=True)
    if any(device.sensor for device in found.devices):
        console.print("`edgeagent scan --yaml` prints these as `sensors:` for a config.", style="dim")


def _short(device: Device) -> str:
    """`/dev/ttyUSB0` rather than what udev makes of it: the long names stand beside it."""
    return min((device.place, *device.names), key=len)


def _said(device: Device) -> Iterator[tuple[str, str]]:
    """What it is, how that is known, and its other names, each with its style."""
    lines = [(device.why, "" if device.state == "ok" else "yellow")]
    lines += [(name, "dim") for name in (device.place, *device.names) if name != _short(device)]
    lines += [(f"usb {device.usb}", "dim")] if device.kind == "serial" and device.usb else []
    yield device.name or "?", "bold"
    for text, style in filter(lambda line: line[0], lines):
        yield f"\n{text}" if device.names else f"  {text}", style
