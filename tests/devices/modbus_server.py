"""A real Modbus server, pymodbus's own, on TCP loopback or at the far end of a serial cable that can be spoilt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from threading import Event, Thread
from typing import Any, Self

from pymodbus.server import ModbusBaseServer, ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeagent.buses.fake.port import FakePort

Table = Mapping[int, list[int]]
Spoil = Callable[[bytes], bytes]
_NONE: Table = {}


def device(
    number: int,
    *,
    holding: Table = _NONE,
    inputs: Table = _NONE,
    coils: Table = _NONE,
    discrete: Table = _NONE,
) -> SimDevice:
    """A device whose tables have these words, or bits, from each address on, and refuse all others."""
    words = [
        [SimData(at, values=v, datatype=DataType.REGISTERS) for at, v in t.items()] for t in (holding, inputs)
    ]
    bits = [
        [SimData(at, values=[bool(v) for v in vs], datatype=DataType.BITS) for at, vs in t.items()]
        for t in (coils, discrete)
    ]
    nothing = [SimData(65000, values=[0], datatype=DataType.REGISTERS)]
    no_bit = [SimData(65000, values=[False], datatype=DataType.BITS)]
    return SimDevice(
        number, simdata=(bits[0] or no_bit, bits[1] or no_bit, words[0] or nothing, words[1] or nothing)
    )


class _Served:
    """An event loop in a thread, and a server in it. `path` is what the config says."""

    path: str
    _server: ModbusBaseServer

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(5)

    def unplug(self) -> None:
        """All ends. May be called twice."""
        if not self._loop.is_closed():
            self._run(self._server.shutdown())  # type: ignore[no-untyped-call]
            self._run(asyncio.sleep(0.01))  # the transports say good-bye in the loop
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()


class TcpServer(_Served):
    """Devices behind a gateway."""

    def __init__(self, *devices: SimDevice) -> None:
        super().__init__()
        self.path = self._run(self._start(list(devices)))

    async def _start(self, devices: list[SimDevice]) -> str:
        self._server = ModbusTcpServer(devices, address=("127.0.0.1", 0), ignore_missing_devices=True)
        await self._server.serve_forever(background=True)
        listening: Any = self._server.transport
        return f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


class SerialLine(_Served):
    """Devices on a serial line; `path` is the master's port. What they say may be spoilt on the way."""

    def __init__(self, *devices: SimDevice) -> None:
        super().__init__()
        self.spoil: Spoil = lambda answer: answer
        self.requests: list[bytes] = []
        self._ids = {device.id for device in devices}
        self._master, self._devices = FakePort(), FakePort()
        self.path = self._master.path
        self._run(self._start(list(devices)))
        self._stop = Event()
        self._relay = Thread(target=self._carry)
        self._relay.start()

    async def _start(self, devices: list[SimDevice]) -> None:
        self._server = ModbusSerialServer(devices, port=self._devices.path, ignore_missing_devices=True)
        await self._server.serve_forever(background=True)

    def _carry(self) -> None:
        while not self._stop.is_set():
            if asked := self._master.receive(0.001):
                self.requests.append(asked)
                if asked[0] in self._ids:  # the server would answer for a device that is not there
                    self._devices.send(asked)
            if answered := self._devices.receive(0.001):
                self._master.send(self.spoil(answered))

    def unplug(self) -> None:
        self._stop.set()
        self._relay.join()
        super().unplug()
        self._master.unplug()
        self._devices.unplug()


def served(what: dict[str, Any]) -> SerialLine | TcpServer:
    """From a case's `modbus.json`: `over` is serial or tcp, `devices` has the tables of each by its id."""
    tables = {
        int(number): {name: {int(at): cells for at, cells in table.items()} for name, table in kinds.items()}
        for number, kinds in what["devices"].items()
    }
    devices = [device(number, **kinds) for number, kinds in tables.items()]
    return SerialLine(*devices) if what["over"] == "serial" else TcpServer(*devices)
