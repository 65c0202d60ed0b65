"""Fake devices on a line speak as the standards' examples and others' encoders do, and the line as lines do."""

from __future__ import annotations

from threading import Thread

import pytest
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ReadCoilsRequest, ReadHoldingRegistersRequest

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.gps import sentence
from edgeagent.buses.fake.line import UNREAD_BYTES, FakeLine, fake_devices, fake_line
from edgeagent.buses.fake.meter import Meter, crc16
from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_S

SECOND = NS_PER_S


def printer(clock: VirtualClock, **faults: object) -> FakeLine:
    line = fake_line("fake:printer", clock, FakeDevice(says=("a", "b"), **faults))  # type: ignore[arg-type]
    line.open()
    return line


def test_a_device_speaks_at_its_rate_in_the_reads_of_whoever_listens() -> None:
    clock = VirtualClock()
    line = printer(clock)
    assert line.read(SECOND // 2) == b""
    assert clock.now_ns() == SECOND // 2
    assert line.read(SECOND) == b"a\r\n"
    assert clock.now_ns() == SECOND
    assert line.read(SECOND) == b"b\r\n"


def test_what_nobody_reads_is_lost_beyond_what_a_line_holds() -> None:
    clock = VirtualClock()
    line = printer(clock)
    clock.sleep_s(100_000)
    assert UNREAD_BYTES - 3 <= len(line.read(0)) <= UNREAD_BYTES


def test_what_was_said_before_the_port_was_opened_is_not_heard() -> None:
    clock = VirtualClock()
    line = printer(clock)
    line.close()
    clock.sleep_s(10)
    line.open()
    assert line.read(0) == b""


def test_a_read_that_waits_is_ended_by_a_wake() -> None:
    line = fake_line("fake:meter", RealClock(), FakeDevice())
    line.open()
    waker = Thread(target=line.wake)
    waker.start()
    assert line.read(60 * SECOND) == b""
    waker.join()


def test_a_line_that_is_not_open_says_so() -> None:
    with pytest.raises(DeviceFault, match="not open"):
        fake_line("fake:gps", VirtualClock(), FakeDevice()).read(0)


def test_a_device_that_does_not_exist_says_which_do() -> None:
    assert fake_devices() == ["board", "gps", "meter", "printer"]
    for name in ("toaster", "mpu6050", "line", "../x"):
        with pytest.raises(ConfigFault, match="board, gps, meter, printer"):
            fake_line(f"fake:{name}", VirtualClock(), FakeDevice())


def test_sentences_have_the_checksums_of_the_standards_examples() -> None:
    body = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
    assert sentence(body) == f"${body}*47\r\n".encode()


def test_the_meter_answers_as_another_library_reads_it() -> None:
    for framer in (FramerRTU, FramerSocket):
        host, meter = framer(DecodePDU(is_server=False)), Meter(FakeDevice())
        for request in (
            ReadHoldingRegistersRequest(address=100, count=3, dev_id=3, transaction_id=1),
            ReadCoilsRequest(address=7, count=9, dev_id=3, transaction_id=1),
        ):
            (frame,) = meter.step(0, host.buildFrame(request))
            used, answer = host.handleFrame(frame, 0, 1)
            assert used == len(frame)
            assert answer is not None
            assert answer.dev_id == 3
            assert answer.registers == [100, 101, 102] or answer.bits[:9] == [True, False] * 4 + [True]


def test_a_frame_with_its_checksum_behind_it_leaves_no_rest() -> None:
    assert crc16(bytes.fromhex("03030064000345f6")) == 0
    assert crc16(bytes.fromhex("03030064000345f7")) != 0
