"""Which serial ports there are, whose they are, and what is said on them.

Opening a port raises its DTR line, which resets many Arduinos: one that somebody has is left alone, and none is opened
if the caller says so. Nothing is written but a HELLO_REQUEST, to a board that has already spoken firmware_bridge, and
on request Modbus reads, to who is silent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeagent.buses.ports import Ports, UsbIdentity
from edgeagent.buses.scan.content import Speech, is_bridge, recognise
from edgeagent.buses.scan.found import Device, Findings, Left
from edgeagent.buses.scan.machine import Machine, text
from edgeagent.buses.serial import SerialPort
from edgeagent.errors import DeviceDenied, DeviceFault
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock
from firmware_bridge.codec import encode
from firmware_bridge.messages import PROTOCOL_VERSION, HelloRequest

BAUDS = (115200, 9600, 38400, 4800, 57600, 19200, 921600)  # in the order of how often they are met
LISTEN_S = 3.0  # an Arduino that the opening has reset takes up to two to boot; a GPS speaks each second
GARBAGE_BYTES = 256  # so much that makes no sense is of another speed
ENOUGH_BYTES = 4096
SILENT = "silent"


def scan_serial(machine: Machine, listen_s: float = LISTEN_S, *, modbus: bool = False) -> Findings:
    """The ports, and what is on them, listened to for `listen_s` each; 0 opens none.

    `modbus`: ask on those that are silent. Raises nothing: a port that cannot be opened says why.
    """
    ports = Ports(machine.path("/dev"), machine.path("/sys/class/tty"))
    identities = {tty: ports.identity(tty) for tty in _ttys(machine)}
    holders = machine.holders()
    consoles = text(machine.path("/sys/class/tty/console/active")).split()
    devices, left = [], []
    for tty, identity in identities.items():
        device = _describe(machine, tty, identity, alone=Counter(identities.values())[identity] == 1)
        who = holders.get(f"/dev/{tty}", ())
        if tty in consoles:
            left.append(Left(device.place, "the kernel's console"))
        elif who:
            devices.append(_with(device, state="busy", why=f"in use by {', '.join(who)}", holders=who))
        elif listen_s:
            heard = _hear(machine, tty, device, listen_s)
            devices += (_modbus(machine, tty, heard) if modbus and heard.why == SILENT else []) or [heard]
        else:
            devices.append(device)
    return Findings(tuple(devices), tuple(left))


def _ttys(machine: Machine) -> Iterator[str]:
    """The ports with hardware behind them; of the old PC's 32 ttyS most are only names, and have type 0."""
    for tty in machine.entries("sys/class/tty/tty*"):
        if (tty / "device").exists() and text(tty / "type") != "0":
            yield tty.name


def _describe(machine: Machine, tty: str, identity: UsbIdentity | None, *, alone: bool) -> Device:
    """The port by the name that stays with the device: by id where that is its alone, else by its socket."""
    by_id, by_path = _link(machine, "by-id", tty), _link(machine, "by-path", tty)
    told_apart = identity is not None and bool(identity.serial) and alone
    stable = (by_id or by_path) if told_apart else (by_path or by_id)
    place = stable or f"/dev/{tty}"
    names = [name for name in (f"/dev/{tty}", by_id, by_path) if name and name != place]
    usb = ""
    if identity is not None:
        usb = f"{identity.vendor}:{identity.product}" + (f" {identity.serial}" if identity.serial else "")
    name = " ".join(filter(None, (text(_usb(machine, tty) / f) for f in ("manufacturer", "product"))))
    return Device(kind="serial", place=place, name=name, names=tuple(names), usb=usb)


def _usb(machine: Machine, tty: str) -> Path:
    """The USB device behind a port; the port itself if there is none."""
    at = machine.path(f"/sys/class/tty/{tty}/device").resolve()
    return next((place for place in (at, *at.parents) if (place / "idVendor").exists()), at)


def _link(machine: Machine, kind: str, tty: str) -> str:
    links = machine.entries(f"dev/serial/{kind}/*")
    return next((machine.name(link) for link in links if os.path.basename(os.readlink(link)) == tty), "")


def _hear(machine: Machine, tty: str, device: Device, listen_s: float) -> Device:
    """Open the port and listen at the usual speeds until what is said makes sense."""
    path, heard = str(machine.path(f"/dev/{tty}")), 0
    for baud in BAUDS:
        try:
            data = _listen(SerialPort(path, baud, machine.clock), machine.clock, listen_s)
        except DeviceFault as fault:
            state = "denied" if isinstance(fault, DeviceDenied) else "skipped"
            return _with(device, state=state, why=f"{fault.what}. {fault.hint}".strip())
        speech, heard = recognise(data), heard + len(data)
        if speech is not None:
            return _speaks(device, speech, baud)
        if not data:
            break  # who is silent at one speed is silent at all
    if heard:
        return _with(device, why=f"says something ({heard} bytes) that makes no sense at any usual speed")
    return _with(device, why=SILENT)


def _listen(port: SerialPort, clock: Clock, listen_s: float) -> bytes:
    """What is said. Raises DeviceFault."""
    data, asked = b"", False
    port.open()
    try:
        end_ns = clock.now_ns() + round(listen_s * NS_PER_S)
        while (left_ns := end_ns - clock.now_ns()) > 0 and len(data) < ENOUGH_BYTES:
            data += port.read(left_ns)
            if not asked and is_bridge(data):
                asked = True
                port.write(encode(HelloRequest(PROTOCOL_VERSION, PROTOCOL_VERSION)))
            if len(data) > GARBAGE_BYTES and recognise(data) is None:
                break
    finally:
        port.close()
    return data


def _speaks(device: Device, speech: Speech, baud: int) -> Device:
    sensor = None
    if speech.driver:
        sensor = {"driver": speech.driver, "port": device.place, "baud": baud, **speech.options}
    adapter = f" ({device.name})" if device.name else ""
    why = f"{speech.why}, at {baud} baud"
    return _with(device, name=f"{speech.name}{adapter}", why=why, sensor=sensor)


def _modbus(machine: Machine, tty: str, port: Device) -> list[Device]:
    from edgeagent.buses.scan.modbus import find_units  # only who asks for it needs pymodbus

    return [
        _with(
            port,
            name=f"Modbus device {unit.number}" + (f" ({port.name})" if port.name else ""),
            why=f"answers at {unit.baud} baud, parity {unit.parity}"
            + ("" if unit.has_register_0 else "; has no holding register 0"),
            sensor={
                "driver": "modbus_rtu",
                "port": port.place,
                "baud": unit.baud,
                "parity": unit.parity,
                "device_id": unit.number,
                "registers": {"register_0": {"address": 0, "unit": ""}},
            }
            if unit.has_register_0
            else None,
        )
        for unit in find_units(str(machine.path(f"/dev/{tty}")), machine.clock)
    ]


_with = msgspec.structs.replace
