"""Which chips are on the I2C buses. Everything is a read, or a read of a register that buses/scan/chips.py allows."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from edgeagent.buses.i2c import NO_BUS, Adapter, transfer_fault
from edgeagent.buses.scan.chips import KINDS, NEVER_ASKED, NEVER_READ, SILENT_KINDS, USUALLY, Kind
from edgeagent.buses.scan.found import Device, Findings, Left
from edgeagent.buses.scan.machine import Machine, text

ADDRESSES = range(0x08, 0x78)  # the rest is reserved by the I2C specification
_ABSENT = (errno.EREMOTEIO, errno.ENXIO, errno.EIO)
_FETCHED_AFTER_S = 0.01
_LONGEST_SILENCE = 3  # time-outs in a row, after which the bus is given up: each takes a second

# Adapters that carry no sensors, by the kernel's name for them.
_NOT_OURS = (
    (r"SMBus", "a PC's SMBus: its memory modules and clock chips are no sensors, and some take harm"),
    (
        r"DDC|gmbus|AMDGPU|[Nn][Vv]|HDMI|fef0[49]500|107d508|7e805000",
        "leads to a display (DDC), where nothing is to be found",
    ),
)


def scan_i2c(machine: Machine) -> Findings:
    """The chips on every bus. Raises nothing: a bus that fails is told of."""
    devices: list[Device] = []
    left: list[Left] = []
    holders = machine.holders()
    buses = list(machine.entries("dev/i2c-*"))
    if not buses:
        left.append(Left("I2C", NO_BUS))
    for path in buses:
        bus = path.name
        devices += _of_the_kernel(machine, bus)
        if reason := _why_not(machine, bus, holders):
            left.append(Left(bus, reason))
        else:
            found = _Bus(machine, bus, {d.place for d in devices}).scan()
            devices += found.devices
            left += found.left
    return Findings(tuple(sorted(devices, key=lambda d: d.place)), tuple(left))


def _of_the_kernel(machine: Machine, bus: str) -> Iterator[Device]:
    """Chips that a kernel driver has taken: they are its own, and talking to them behind its back may harm."""
    number = bus.removeprefix("i2c-")
    for client in machine.entries(f"sys/bus/i2c/devices/{number}-*"):
        if (client / "driver").exists():
            address = int(client.name.partition("-")[2], 16)
            driver = (client / "driver").resolve().name
            yield Device(
                kind="i2c",
                place=f"{bus} {address:#04x}",
                name=text(client / "name"),
                why=f"the kernel's driver {driver} has it: not asked",
                state="busy",
                holders=(f"kernel driver {driver}",),
            )


def _why_not(machine: Machine, bus: str, holders: dict[str, tuple[str, ...]]) -> str:
    """Why a bus is not looked at; "" if it is."""
    adapter = text(machine.path(f"sys/bus/i2c/devices/{bus}/name"))
    for pattern, reason in _NOT_OURS:
        if re.search(pattern, adapter):
            return f"{adapter}: {reason}"
    if who := holders.get(f"/dev/{bus}"):
        return f"in use by {', '.join(who)}: a read between its own could take a sample away. Stop it first."
    return ""


class _Reply(NamedTuple):
    """Who a chip is."""

    kind: Kind
    why: str


class _Bus:
    """One bus under scan; `taken` are places that are the kernel's."""

    def __init__(self, machine: Machine, bus: str, taken: set[str]) -> None:
        self._machine, self._bus, self._taken = machine, bus, taken
        self._asked: dict[tuple[int, bytes, int], bytes | None] = {}
        self._devices: list[Device] = []
        self._left: list[Left] = []

    def scan(self) -> Findings:
        """What there is, up to where the bus fails."""
        try:
            adapter = self._machine.connect(f"/dev/{self._bus}")
            try:
                self._addresses(adapter)
            finally:
                adapter.close()
        except OSError as e:
            fault = transfer_fault(f"/dev/{self._bus}", 0, e.errno or 0, str(e))
            self._left.append(Left(self._bus, f"{fault.what}. {fault.hint}".strip()))
        return Findings(tuple(self._devices), tuple(self._left))

    def _addresses(self, adapter: Adapter) -> None:
        """Raises OSError if the bus fails."""
        silences = 0
        for address in ADDRESSES:
            place = f"{self._bus} {address:#04x}"
            if address in NEVER_READ:
                self._left.append(Left(place, NEVER_READ[address]))
                continue
            if place in self._taken:
                continue
            try:
                device = self._identify(adapter, address)
            except TimeoutError:
                silences += 1
                self._left.append(Left(place, "the clock was held low for too long"))
                if silences == _LONGEST_SILENCE:
                    raise
            else:
                silences = 0
                self._devices += [device] if device else []

    def _identify(self, adapter: Adapter, address: int) -> Device | None:
        """What is at an address; None if nothing is. Raises OSError if the bus fails."""
        answers = self._ask(adapter, address, b"", 1) is not None
        kinds = KINDS if answers else SILENT_KINDS
        if address in NEVER_ASKED:
            why = f"answers; not asked who it is: {NEVER_ASKED[address]}"
            return self._device(address, None, why) if answers else None
        reply = self._recognise(adapter, address, (kind for kind in kinds if address in kind.addresses))
        if reply is not None:
            return self._device(address, reply.kind, reply.why)
        return self._device(address, None, self._heard(address)) if answers else None

    def _recognise(self, adapter: Adapter, address: int, kinds: Iterable[Kind]) -> _Reply | None:
        for kind in kinds:
            heard = [
                self._ask(adapter, address, a.out, len(a.expected), fetched=a.fetched) for a in kind.answers
            ]
            pairs = [(a, h) for a, h in zip(kind.answers, heard, strict=True) if h is not None and a.fits(h)]
            if len(pairs) == len(kind.answers):
                said = ", ".join(answer.says(found) for answer, found in pairs)
                return _Reply(kind, said if kind.sure else f"looks like it: {said}")
        return None

    def _ask(
        self, adapter: Adapter, address: int, out: bytes, n: int, *, fetched: bool = False
    ) -> bytes | None:
        """The answer, asked for once however many want to know; None if there is none."""
        key = (address, out, n)
        if key not in self._asked:
            try:
                if fetched:
                    adapter.transfer(address, out, 0)
                    self._machine.clock.sleep_s(_FETCHED_AFTER_S)
                self._asked[key] = adapter.transfer(address, b"" if fetched else out, n)
            except OSError as e:
                if e.errno not in _ABSENT:
                    raise
                self._asked[key] = None
        return self._asked[key]

    def _heard(self, address: int) -> str:
        """What an unknown chip said, for whoever looks it up."""
        said = [
            f"register 0x{out.hex()} is 0x{found.hex()}"
            for (at, out, _), found in self._asked.items()
            if at == address and len(out) == 1 and found is not None and set(found) - {0x00, 0xFF}
        ]
        return (
            f"answers, but is none of the chips known here: {', '.join(said)}"
            if said
            else "answers; has no id"
        )

    def _device(self, address: int, kind: Kind | None, why: str) -> Device:
        name = kind.name if kind else USUALLY.get(address, "")
        sensor = None
        if kind is not None and kind.driver:
            sensor = {"driver": kind.driver, "bus": self._bus, "address": address}
        return Device(kind="i2c", place=f"{self._bus} {address:#04x}", name=name, why=why, sensor=sensor)
