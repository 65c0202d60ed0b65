"""A Modbus device that is not there: by the specification (V1.1b3), RTU or TCP, as it is spoken to.

Whatever number it is called by, it is that device. The register at an address holds the address, plus one for each
second that has passed; a coil is on where that number is odd. What is written is acknowledged, and changes nothing.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from edgeagent.buses.fake import FakeDevice
from edgeagent.records import NS_PER_S

READ_BITS, READ_WORDS, WRITES = (1, 2), (3, 4), (5, 6, 15, 16)
ILLEGAL_FUNCTION = 1
MBAP_BYTES = 6
REQUEST_BYTES = 8
NEVER_NS = (1 << 63) - 1


class Meter:
    """`Program` of line.py."""

    HAS_ID: ClassVar[bool] = True

    def __init__(self, fake: FakeDevice) -> None:
        self.stuck_value = fake.stuck_value
        self._id = fake.wrong_id
        self._seconds = 0
        self._began_ns: int | None = None

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        """A request comes in one piece, as it was written."""
        if self._began_ns is None:
            self._began_ns = now_ns
        if not self.stuck_value:
            self._seconds = (now_ns - self._began_ns) // NS_PER_S
        if len(heard) < REQUEST_BYTES:
            return []
        if crc16(heard) == 0:
            frame = self._answer(heard[:-2])
            return [frame + struct.pack("<H", crc16(frame))]
        frame = self._answer(heard[MBAP_BYTES:])
        return [heard[:4] + struct.pack(">H", len(frame)) + frame]

    def due_ns(self) -> int:
        return NEVER_NS

    def _answer(self, request: bytes) -> bytes:
        """Number and function, then what was asked for: no framing."""
        number, function, address, count = struct.unpack_from(">BBHH", request)
        head = bytes((number if self._id is None else self._id, function))
        cells = [(address + i + self._seconds) % 65536 for i in range(count)]
        if function in READ_WORDS:
            return head + bytes((2 * count,)) + struct.pack(f">{count}H", *cells)
        if function in READ_BITS:
            bits: int = sum((cell & 1) << i for i, cell in enumerate(cells))
            size: int = -(-count // 8)
            return head + bytes((size,)) + bits.to_bytes(size, "little")
        if function in WRITES:
            return head + request[2:6]
        return bytes((head[0], function | 0x80, ILLEGAL_FUNCTION))


def crc16(data: bytes) -> int:
    """The polynomial 0x8005, reflected, started with 0xFFFF; 0 for a frame with its right checksum behind it."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def program(fake: FakeDevice) -> Meter:
    return Meter(fake)
