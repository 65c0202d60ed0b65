"""Modbus devices: a real server on a pty and on TCP, what is spoilt on the way, and several on one line."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from modbus_server import SerialLine, TcpServer, device
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from edgeagent.actuators import modbus as outputs
from edgeagent.agent.clock import RealClock
from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.modbus import Wiring
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors import Context, modbus_rtu, modbus_tcp
from edgeagent.sensors.modbus import ModbusSensor, Register, cells_of, layout, spans_of

FLOW = Register(address=100, type="float32", unit="L/min")
LEVEL = Register(address=200, unit="m", scale=0.01)
METER = device(3, holding={100: [0x42F6, 0xE979], 200: [150]}, coils={0: [0, 0]})
OTHER = device(4, holding={100: [0x42F6, 0xE979], 200: [160]})
SOON = 1.0  # the `timeout` where silence is what a test waits for; a machine that stalls so long spoils it
PATIENCE_S = 90.0


@pytest.fixture
def line() -> Iterator[SerialLine]:
    with SerialLine(METER, OTHER) as line:
        yield line


Make = Callable[..., ModbusSensor]


@pytest.fixture
def make() -> Iterator[Make]:
    """Sensors that hang on one set of buses, as in an agent."""
    context = Context(RealClock(), Buses(RealClock()))
    made: list[ModbusSensor] = []

    def make(port: str, device_id: int = 3, **options: Any) -> ModbusSensor:
        options = {"registers": {"flow": FLOW}, "rate": 20.0, "timeout": 30.0, **options}
        module, name = (modbus_tcp, "host") if ":" in port else (modbus_rtu, "port")
        shape = module.Options(**{name: port, "device_id": device_id, **options})
        sensor = module.build(f"meter{device_id}", shape, context)
        assert isinstance(sensor, ModbusSensor)
        made.append(sensor)
        return sensor

    yield make
    for sensor in made:
        sensor.close()


def rows(sensor: ModbusSensor, n: int) -> list[Block]:
    blocks: list[Block] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(b.values) for b in blocks) < n:
        assert time.monotonic() < deadline, "the rows did not come"
        time.sleep(max(sensor.due_ns() - time.monotonic_ns(), 0) / NS_PER_S)
        block = sensor.read()
        blocks += [block] if block else []
    return blocks


# --- the frames ---------------------------------------------------------------------------------------


def test_request_and_answer_are_the_bytes_that_the_standards_example_has(make: Make) -> None:
    """The example of Modbus: device 17 is asked for 3 registers from 0x6B, and has AE41 5652 4340."""
    cable = FakePort()
    heard = []

    def answer() -> None:
        for _ in range(2):
            heard.append(cable.receive(PATIENCE_S))
            cable.send(bytes.fromhex("11 03 06 AE 41 56 52 43 40 49 AD"))

    slave = Thread(target=answer)
    slave.start()
    registers = {name: Register(address=0x6B + at, unit="1") for at, name in enumerate("abc")}
    sensor = make(cable.path, 17, registers=registers)
    sensor.open()
    (block,) = rows(sensor, 1)
    slave.join()
    sensor.close()
    cable.unplug()
    assert heard == [bytes.fromhex("11 03 00 6B 00 03 76 87")] * 2
    assert block.values.tolist() == [[0xAE41, 0x5652, 0x4340]]


def test_neighbours_are_read_in_one_request_and_holes_are_not_read() -> None:
    def register(address: int, type_: Any = "uint16", kind: Any = "holding") -> Register:
        return Register(address=address, type=type_, kind=kind, unit="1")

    registers = {
        "c": register(12),
        "a": register(10, "float32"),
        "again": register(11),
        "apart": register(14),
        "other_table": register(13, kind="input"),
        "bit": register(13, kind="coil"),
    }
    settings = modbus_rtu.Options(port="x", device_id=1, registers=registers)
    found = [(span.kind, span.address, span.size) for span in spans_of(cells_of(settings))]
    assert found == [("coil", 13, 1), ("holding", 10, 3), ("holding", 14, 1), ("input", 13, 1)]


def test_a_request_is_never_longer_than_the_standard_allows_and_splits_no_number() -> None:
    registers = {f"r{n}": Register(address=2 * n, type="float32", unit="1") for n in range(100)}
    spans = spans_of(cells_of(modbus_rtu.Options(port="x", device_id=1, registers=registers)))
    assert [span.size for span in spans] == [124, 76]
    assert all(a.address + a.size == b.address for a, b in pairwise(spans))


def test_no_registers_are_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigFault, match="no registers"):
        layout(modbus_rtu.Options(port="x", device_id=1, registers={}))


# --- what goes wrong ----------------------------------------------------------------------------------


def test_an_exception_reply_says_what_was_refused_and_what_to_compare(line: SerialLine, make: Make) -> None:
    sensor = make(line.path, registers={"flow": Register(address=40101, unit="1")})
    with pytest.raises(
        DeviceFault, match=r"device 3: refuses address 40101 .*illegal data address.*may count from 1"
    ):
        sensor.open()
    assert sensor.counters()["answers_refused"] == 1


def test_a_wrong_device_id_is_silence_that_says_what_to_check(line: SerialLine, make: Make) -> None:
    with pytest.raises(DeviceGone, match=r"device 9: no answer.*wires A and B.*device_id"):
        make(line.path, 9, timeout=0.2).open()


def test_an_answer_of_another_device_is_not_taken(line: SerialLine, make: Make) -> None:
    sensor = make(line.path)
    foreign = FramerRTU(DecodePDU(is_server=True)).encode(bytes.fromhex("03 04 42 f6 e9 79"), 4, 0)
    line.spoil = lambda answer: foreign
    with pytest.raises(DeviceFault, match="device 4 answered in its place"):
        sensor.open()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]), "checksum of the answer is wrong"),
        (
            lambda answer: answer[:4] + bytes([answer[4] ^ 0x80]) + answer[5:],
            "checksum of the answer is wrong",
        ),
        (lambda answer: answer[:5], "the answer breaks off"),
        (lambda answer: bytes(reversed(answer)), "checksum|breaks off|not a Modbus answer|does not end"),
        (lambda answer: b"\xff\x00\x55" * 200, "checksum|breaks off|not a Modbus answer|does not end"),
    ],
    ids=["crc", "bit flip", "half frame", "reordered bytes", "noise"],
)
def test_a_spoilt_answer_is_missing_with_its_reason_and_the_next_one_is_read(
    line: SerialLine, make: Make, spoil: Callable[[bytes], bytes], says: str
) -> None:
    sensor = make(line.path, timeout=SOON)
    sensor.open()
    rows(sensor, 1)
    line.spoil = spoil
    (spoilt,) = rows(sensor, 1)
    assert np.isnan(spoilt.values).all()
    (reason,) = spoilt.reasons
    assert any(word in reason for word in says.split("|")), reason
    line.spoil = lambda answer: answer
    assert rows(sensor, 1)[-1].values[-1] == pytest.approx(123.456)
    assert sensor.counters()["answers_bad"] == 2


def test_one_garbled_answer_is_asked_for_again_at_once(line: SerialLine, make: Make) -> None:
    sensor = make(line.path, timeout=SOON)
    sensor.open()
    garbled = iter([b"\x03\x03\x04\x00"])
    line.spoil = lambda answer: next(garbled, answer)
    (block,) = rows(sensor, 1)
    assert block.values.tolist() == [[pytest.approx(123.456)]]
    assert sensor.counters()["answers_bad"] == 1


def test_silence_is_missing_at_first_then_the_device_is_gone_then_it_is_back(
    line: SerialLine, make: Make
) -> None:
    sensor = make(line.path, timeout=SOON)
    sensor.open()
    rows(sensor, 1)
    line.spoil = lambda answer: b""
    silent = rows(sensor, 2)
    assert np.isnan(np.concatenate([b.values for b in silent])).all()
    assert silent[0].reasons == ("no answer",)
    with pytest.raises(DeviceGone, match="no answer"):
        rows(sensor, 1)
    sensor.close()
    line.spoil = lambda answer: answer
    sensor.open()
    assert rows(sensor, 1)[0].values[0] == pytest.approx(123.456)


def test_a_line_that_never_stops_talking_is_a_fault(make: Make) -> None:
    cable, stop = FakePort(), Event()

    def chatter() -> None:
        while not stop.is_set():
            try:
                cable.send(b"12.5,23.1\r\n" * 50)
            except BlockingIOError:
                stop.wait(0.0001)

    talker = Thread(target=chatter)
    talker.start()
    try:
        with pytest.raises(DeviceFault, match=r"never stops talking|checksum|breaks off|does not end"):
            make(cable.path, timeout=SOON).open()
    finally:
        stop.set()
        talker.join()
        cable.unplug()


def test_a_number_that_the_device_says_is_none_is_missing_with_its_reason(make: Make) -> None:
    with SerialLine(device(3, holding={100: [0x7FC0, 0]})) as line:
        sensor = make(line.path)
        sensor.open()
        (block,) = rows(sensor, 1)
        sensor.close()
    assert np.isnan(block.values).all()
    assert block.reasons == ("flow: the device says nan",)


# --- several on one line ------------------------------------------------------------------------------


class Reading:
    """What a reader's thread does with the devices of a line, for as long as it takes: this machine may stall."""

    def __init__(self, *sensors: ModbusSensor) -> None:
        clock, self._inbox = RealClock(), Inbox()
        self.devices = [Device(f"{n}", sensor, clock, self._inbox) for n, sensor in enumerate(sensors)]
        self.values: dict[str, float] = {}

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, [each.status() for each in self.devices]
            for each in self.devices:
                if each.due_ns() <= time.monotonic_ns():
                    each.step()
            while (message := self._inbox.get(0.001)) is not None:
                if isinstance(message, Block):
                    self.values[message.sensor] = message.values.item(-1)

    @property
    def states(self) -> list[str]:
        return [each.state for each in self.devices]


def test_several_devices_on_one_line_are_read_in_turn_each_with_its_own_health(
    line: SerialLine, make: Make
) -> None:
    one, two = make(line.path, 3, registers={"l": LEVEL}), make(line.path, 4, registers={"l": LEVEL})
    refused = make(line.path, 4, registers={"x": Register(address=9, unit="1")})
    reading = Reading(one, two, refused)
    reading.until(lambda: reading.states == ["ok", "ok", "degraded"])
    assert "device 4: refuses" in reading.devices[2].reason
    reading.until(lambda: {"meter3", "meter4"} <= reading.values.keys())
    reading.until(lambda: reading.values["meter3"] == pytest.approx(1.5))
    reading.until(lambda: reading.values["meter4"] == pytest.approx(1.6))


def test_one_that_dies_and_comes_back_on_a_real_line_spoils_no_value_of_another(
    line: SerialLine, make: Make
) -> None:
    one, two = make(line.path, 3, registers={"l": LEVEL}), make(line.path, 4, registers={"l": LEVEL})
    reading = Reading(one, two)
    reading.until(lambda: reading.states == ["ok", "ok"])
    line.spoil = lambda answer: b"" if answer[:1] == b"\x04" else answer
    reading.until(lambda: reading.states == ["ok", "gone"])
    for _ in range(10):
        reading.values.clear()
        reading.until(lambda: reading.values.get("meter3", math.nan) == pytest.approx(1.5))
    line.spoil = lambda answer: answer
    reading.until(lambda: reading.states == ["ok", "ok"] and "meter4" in reading.values)
    reading.until(lambda: reading.values["meter4"] == pytest.approx(1.6))


# --- TCP ----------------------------------------------------------------------------------------------


def test_a_host_that_refuses_the_connection_is_gone_and_says_so(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeviceGone, match=rf"127.0.0.1:{port}: it refuses the connection"):
        make(f"127.0.0.1:{port}").open()


def test_a_name_that_nobody_has_is_gone_and_says_so(make: Make) -> None:
    with pytest.raises(DeviceGone, match=r"no machine is called no\.such\.invalid"):
        make("no.such.invalid:502").open()


def test_a_server_that_goes_away_is_gone_and_is_connected_to_again(make: Make) -> None:
    with TcpServer(METER) as server:
        sensor = make(server.path)
        sensor.open()
        rows(sensor, 1)
    with pytest.raises(DeviceGone, match=r"closed the connection|connection broke"):
        rows(sensor, 1_000)
    sensor.close()
    with pytest.raises(DeviceGone):
        sensor.open()


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(make: Make) -> None:
    """Over TCP each request has its number: the first answer comes after the second request."""
    answers = {0x10: 7, 0x20: 8}

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            held = b""
            while request := connection.recv(64):
                number, address = request[:2], int.from_bytes(request[8:10], "big")
                answer = number + bytes.fromhex("0000 0005 03 03 02") + answers[address].to_bytes(2, "big")
                if address == 0x10:
                    held = answer
                else:
                    connection.sendall(held + answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,))
        server.start()
        path = f"127.0.0.1:{listening.getsockname()[1]}"
        buses = Buses(RealClock())
        line = buses.modbus(Wiring(path))
        with pytest.raises(DeviceGone, match="no answer"):
            line.read(3, "holding", 0x10, 1, NS_PER_S // 20)
        assert line.read(3, "holding", 0x20, 1, 30 * NS_PER_S) == [8]
        line.leave(None)
        server.join()


# --- outputs ------------------------------------------------------------------------------------------


def output(sensor: ModbusSensor, **options: Any) -> Any:
    return outputs.build("out", outputs.Options(sensor="drive", **options), {"drive": sensor})


def test_a_coil_and_a_register_are_driven_and_reported_by_the_device(line: SerialLine, make: Make) -> None:
    registers = {"relay": Register(address=1, kind="coil", unit="1"), "set": LEVEL}
    sensor = make(line.path, registers=registers)
    relay, level = output(sensor, coil=1), output(sensor, register=200, scale=0.01)
    relay.drive(True)
    assert relay.state()["reported"] is None
    assert "not been told yet" in relay.state()["error"]
    sensor.open()
    level.drive(2.34)
    block = rows(sensor, 2)[-1]
    assert block.values[-1].tolist() == [1.0, pytest.approx(2.34)]
    assert relay.state() == {"asked": 1.0, "reported": 1.0, "changes": 0, "error": None}
    relay.drive(False)
    rows(sensor, 1)
    assert relay.state() == {"asked": 0.0, "reported": 0.0, "changes": 1, "error": None}


def test_an_output_waits_for_no_reading(line: SerialLine, make: Make) -> None:
    sensor = make(line.path, rate=0.1)
    sensor.open()
    rows(sensor, 1)
    relay = output(sensor, coil=1)
    relay.drive(True)
    assert sensor.due_ns() - time.monotonic_ns() <= 20_000_000
    sensor.read()
    assert relay.state()["reported"] == 1.0


def test_after_it_was_away_a_device_is_told_all_anew(line: SerialLine, make: Make) -> None:
    sensor = make(line.path)
    sensor.open()
    relay = output(sensor, coil=1)
    relay.drive(True)
    rows(sensor, 1)
    sensor.close()
    assert relay.state()["reported"] is None
    told = len(line.requests)
    sensor.open()
    assert [request[:2] for request in line.requests[told:]] == [b"\x03\x03", b"\x03\x05"]
    assert relay.state()["reported"] == 1.0


def test_closing_says_what_is_still_to_be_said(line: SerialLine, make: Make) -> None:
    sensor = make(line.path)
    sensor.open()
    relay = output(sensor, coil=1)
    relay.drive(True)
    sensor.close()
    assert line.requests[-1][:6] == bytes.fromhex("03 05 00 01 ff 00")


def test_a_refused_output_is_an_error_and_is_not_tried_for_ever(line: SerialLine, make: Make) -> None:
    sensor = make(line.path)
    sensor.open()
    absent = output(sensor, coil=77)
    absent.drive(True)
    rows(sensor, 3)
    assert "refuses address 77" in absent.state()["error"]
    assert sum(request[1] == 5 for request in line.requests) == 1


def test_a_garbled_acknowledgement_is_asked_for_again(line: SerialLine, make: Make) -> None:
    sensor = make(line.path)
    sensor.open()
    rows(sensor, 1)
    garbled = iter([b"\x03\x05\x00\x01\xff\x00\x00\x00"])
    line.spoil = lambda answer: next(garbled, answer)
    relay = output(sensor, coil=1)
    relay.drive(True)
    sensor.read()
    assert "checksum" in relay.state()["error"]
    rows(sensor, 2)
    assert relay.state() == {"asked": 1.0, "reported": 1.0, "changes": 0, "error": None}


def test_a_value_that_the_register_cannot_hold_is_an_error_and_is_not_sent(
    line: SerialLine, make: Make
) -> None:
    sensor = make(line.path)
    level = output(sensor, register=200, type="int16")
    level.drive(40000)
    assert "40000 does not fit into int16" in level.state()["error"]
    sensor.open()
    rows(sensor, 1)
    assert {request[1] for request in line.requests} == {3}


@pytest.mark.parametrize("options", [{}, {"coil": 1, "register": 2}])
def test_an_output_is_a_coil_or_a_register(options: dict[str, int]) -> None:
    with pytest.raises(ConfigFault, match="either `coil: ADDRESS` or `register: ADDRESS`"):
        outputs.Options(sensor="drive", **options)  # type: ignore[arg-type]


def test_an_output_of_what_is_no_modbus_device_says_which_there_are(line: SerialLine, make: Make) -> None:
    options = outputs.Options(sensor="imu", coil=1)
    with pytest.raises(ConfigFault, match=r"sensor 'imu' is no Modbus device.*meter"):
        outputs.build("out", options, {"imu": object(), "meter": make(line.path)})
    with pytest.raises(ConfigFault, match=r"sensor 'imu' is not there"):
        outputs.build("out", options, {})
