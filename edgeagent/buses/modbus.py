"""A Modbus line: one master, many devices, one request at a time.

pymodbus makes and reads the frames, without its clients, its waiting and its event loop: bytes in, messages out. The
port, the time and the blame are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import error as StructError  # noqa: N812
from typing import Literal, NamedTuple

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU, ReadCoilsRequest, ReadHoldingRegistersRequest
from pymodbus.pdu.bit_message import ReadDiscreteInputsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from edgeagent.buses import Port
from edgeagent.buses.turns import Turns
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

Kind = Literal["holding", "input", "coil", "discrete"]
MOST_WORDS, MOST_BITS = 125, 2000  # in one request, says the standard
REQUEST_BYTES = 8  # to read, or to write one word
MOST_ANSWER_BYTES = 264
BITS_PER_BYTE = 11
QUIET_BYTES = 3.5  # between two frames, says the standard; from 19200 baud on at least
QUIET_LEAST_NS = 1_750_000
MOST_STALE_READS = 100

_READS: dict[Kind, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}
_REFUSALS = {
    1: ("illegal function", "Is it `kind: input` instead of holding, or the other way round?"),
    2: (
        "illegal data address",
        "Compare with its manual, which may count from 1, or write 40101 for address 100.",
    ),
    3: ("illegal data value", "Compare type and count with its manual."),
    4: ("device failure", "Switch it off and on."),
    6: ("device busy", ""),
    10: ("gateway path unavailable", "Is the line configured in the gateway?"),
    11: ("the gateway got no answer", "Check the device behind the gateway: power, wiring, `device_id`."),
}


class Wiring(NamedTuple):
    """What makes two lines different: a serial port with its settings, or (`baud` 0) `host:port`."""

    port: str
    baud: int = 0
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: int = 1


class AnswerFault(DeviceFault):
    """One device's fault; the line is sound."""


class NoAnswer(AnswerFault, DeviceGone):
    """Silence."""


class BadAnswer(AnswerFault):
    """Not what was asked for: noise, another device, a checksum that does not fit."""


class Refused(AnswerFault):
    """An exception reply: the device understood, and will not."""


class Line:
    """RTU on a port with a `baud`, TCP on one without; opened by the first request that needs it.

    The reader's thread of the port calls everything but `wake`.
    """

    def __init__(self, port: Port, baud: int, clock: Clock) -> None:
        self.name = port.path
        self._clock = clock
        self._port = port
        self._framer: FramerBase
        if baud:
            self._framer = FramerRTU(DecodePDU(is_server=False))
            self._byte_ns = NS_PER_S * BITS_PER_BYTE // baud
            self._quiet_ns = max(round(QUIET_BYTES * self._byte_ns), QUIET_LEAST_NS)
        else:
            self._framer = FramerSocket(DecodePDU(is_server=False))
            self._byte_ns = self._quiet_ns = 0
        self.is_open = False
        self._quiet_from_ns = 0
        self._request = 0
        self.turns = Turns()

    def leave(self, user: object) -> None:
        """Its turns are over; the last one closes the port."""
        self.turns.remove(user)
        if not self.turns:
            self._close()

    def room_ns(self, user: object, request_bytes: int) -> int:
        """How long an answer to such a request may take until another device is to be asked."""
        now_ns = self._clock.now_ns()
        begin_ns = max(self._quiet_from_ns, now_ns)
        return self.turns.due_ns(user, now_ns) - begin_ns - self.air_ns(request_bytes) - self._quiet_ns

    def air_ns(self, size_bytes: int) -> int:
        """How long so many bytes are on their way."""
        return size_bytes * self._byte_ns

    def wake(self) -> None:
        """End a wait for an answer, from any thread."""
        self._port.wake()

    def read(self, device: int, kind: Kind, address: int, count: int, patience_ns: int) -> Sequence[int]:
        """`count` words, or bits as 0 and 1. Raises DeviceFault: an AnswerFault if it is the device's alone."""
        answer = self._ask(device, _READS[kind](address=address, count=count), patience_ns)
        cells = [int(bit) for bit in answer.bits] if kind in ("coil", "discrete") else answer.registers
        padded = -(-count // 8) * 8 if kind in ("coil", "discrete") else count
        if len(cells) != padded:
            raise self._bad(device, f"answered {len(cells)} values where {padded} were asked for")
        return cells[:count]

    def write_coil(self, device: int, address: int, on: bool, patience_ns: int) -> None:  # noqa: FBT001
        """Raises DeviceFault as `read` does."""
        self._ask(device, WriteSingleCoilRequest(address=address, bits=[on]), patience_ns)

    def write_words(self, device: int, address: int, words: Sequence[int], patience_ns: int) -> None:
        """All words of one number in one request. Raises DeviceFault as `read` does."""
        single = len(words) == 1
        request = WriteSingleRegisterRequest if single else WriteMultipleRegistersRequest
        self._ask(device, request(address=address, registers=words), patience_ns)

    def _ask(self, device: int, request: ModbusPDU, patience_ns: int) -> ModbusPDU:
        try:
            return self._exchange(device, request, patience_ns)
        except AnswerFault:
            raise
        except DeviceFault:
            self._close()  # and whoever asks next opens it anew
            raise

    def _exchange(self, device: int, request: ModbusPDU, patience_ns: int) -> ModbusPDU:
        if not self.is_open:
            self._port.open()
            self.is_open = True
        self._request = self._request % 0xFFFF + 1
        request.dev_id, request.transaction_id = device, self._request
        frame = self._framer.buildFrame(request)
        self._clock.sleep_s(max(self._quiet_from_ns - self._clock.now_ns(), 0) / NS_PER_S)
        self._drop_stale()
        self._port.write(frame)
        until_ns = self._clock.now_ns() + self.air_ns(len(frame)) + patience_ns
        try:
            answer = self._await(device, until_ns)
        finally:
            self._quiet_from_ns = self._clock.now_ns() + self._quiet_ns
        return self._sound(device, request, answer)

    def _drop_stale(self) -> None:
        """What came too late belongs to nobody any more."""
        for _ in range(MOST_STALE_READS):
            if not self._port.read(0):
                return
        raise DeviceFault("it never stops talking", where=self.name, hint="Is this a Modbus line?")

    def _await(self, device: int, until_ns: int) -> ModbusPDU:
        data, left_ns = b"", 1
        while (
            left_ns > 0
        ):  # and looks once more at the end: the answer may have come while this thread had to wait
            left_ns = until_ns - self._clock.now_ns()
            chunk = self._port.read(max(left_ns, 0))
            if not chunk:
                break
            data += chunk
            used, answer = self._decode(device, data)
            if answer is not None:
                return answer
            if self._byte_ns and used:
                raise self._bad(device, f"the checksum of the answer is wrong: {data[:16].hex(' ')}")
            data = data[used:]  # over TCP: the answer to a request that was given up
            if len(data) > MOST_ANSWER_BYTES:
                raise self._bad(device, "the answer does not end")
        if data:
            raise self._bad(device, f"the answer breaks off: {data[:16].hex(' ')}")
        raise NoAnswer(
            "no answer",
            where=f"{self.name} device {device}",
            hint="Check its power, the wires A and B, `baud`, `parity` and `device_id`."
            if self._byte_ns
            else "Check `device_id`, and the device behind the gateway.",
        )

    def _decode(self, device: int, data: bytes) -> tuple[int, ModbusPDU | None]:
        try:
            return self._framer.handleFrame(data, 0, self._request)
        except (ModbusException, StructError, IndexError, ValueError) as e:
            raise self._bad(device, f"not a Modbus answer: {data[:16].hex(' ')}") from e

    def _sound(self, device: int, request: ModbusPDU, answer: ModbusPDU) -> ModbusPDU:
        if answer.dev_id != device:
            raise self._bad(
                device,
                f"device {answer.dev_id} answered in its place",
                "Two masters on one line, or an answer that came late: raise `timeout`.",
            )
        if answer.function_code & 0x7F != request.function_code:
            raise self._bad(
                device, f"answered function {answer.function_code}, asked {request.function_code}"
            )
        if answer.isError():
            code = answer.exception_code
            words, hint = _REFUSALS.get(code, ("unknown", ""))
            what = f"refuses {_what(request)}: {words} (exception {code})"
            raise Refused(what, where=f"{self.name} device {device}", hint=hint)
        return answer

    def _bad(self, device: int, what: str, hint: str = "") -> BadAnswer:
        hint = hint or "Check cable, termination and earthing, `baud` and `parity`."
        return BadAnswer(what, where=f"{self.name} device {device}", hint=hint)

    def _close(self) -> None:
        self.is_open = False
        self._port.close()


def _what(request: ModbusPDU) -> str:
    last = request.address + max(request.count, 1) - 1
    span = f"{request.address}" if last == request.address else f"{request.address} to {last}"
    return f"address {span} (function {request.function_code})"
