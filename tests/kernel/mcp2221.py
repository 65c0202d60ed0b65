"""An MCP2221 that is not there: the USB-to-I2C adapter of many breakout boards, as the kernel's own driver sees it.

The driver makes a /dev/i2c-N and four GPIO lines of it, and our fake chips answer on its wires. The device's side is
the kernel's uhid: each report that the driver sends is handed to whoever holds /dev/uhid. The reports are those of
Microchip's data sheet DS20005565, chapter 3.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from threading import Thread

from edgeagent.buses.i2c import Adapter

VENDOR, PRODUCT = 0x04D8, 0x00DD
# 64 bytes each way, without a meaning of their own (USB HID 1.11, 6.2.2)
_REPORTS = bytes.fromhex("0600ff0901a1010902150026ff00750895408102 0903150026ff00750895409102c0")
_BYTES = 64
_DESTROY, _STOP, _OUTPUT, _CREATE, _INPUT = 1, 3, 6, 11, 12  # include/uapi/linux/uhid.h
_EVENT_BYTES = 4 + 4372
_USB = 3

_STATUS, _GET_DATA, _GPIO, _SETTINGS = 0x10, 0x40, 0x51, 0x61
_WRITES, _READS = (0x90, 0x94), (0x91, 0x93)  # each without and with a transaction that goes on
_WANTS_SPEED = 0x20
_NOT_ACKNOWLEDGED, _READ_COMPLETE = 0x25, 0x55
_CHUNK = 60
_INPUTS = bytes((0, 1)) * 4  # each line: its value, its direction


class Mcp2221:
    """The adapter, plugged in from the beginning until `unplug`. A thread answers for it."""

    def __init__(self, wires: Adapter) -> None:
        self._wires = wires
        self._acknowledged, self._read = True, b""
        self._fd = os.open("/dev/uhid", os.O_RDWR)
        head = struct.pack("<I128s64s64s", _CREATE, b"MCP2221", b"", b"")
        os.write(
            self._fd, head + struct.pack("<HHIIII", len(_REPORTS), _USB, VENDOR, PRODUCT, 0, 0) + _REPORTS
        )
        self._thread = Thread(target=self._serve, name="MCP2221")
        self._thread.start()

    def unplug(self) -> None:
        """Returns when everybody has let go of the bus: the kernel waits for that. Once is enough."""
        if not self._thread.is_alive():
            return
        os.write(self._fd, struct.pack("<I", _DESTROY))
        self._thread.join()
        os.close(self._fd)

    def _serve(self) -> None:
        while (kind := int.from_bytes((event := os.read(self._fd, _EVENT_BYTES))[:4], "little")) != _STOP:
            if kind == _OUTPUT:
                answer = self._answer(event[4 : 4 + _BYTES]).ljust(_BYTES, b"\0")
                with suppress(OSError):  # it has just been pulled
                    os.write(self._fd, struct.pack("<IH", _INPUT, _BYTES) + answer)

    def _answer(self, report: bytes) -> bytes:
        command, length, address = report[0], int.from_bytes(report[1:3], "little"), report[3] >> 1
        if command in _WRITES:
            self._transfer(address, report[4 : 4 + length], 0)
        elif command in _READS:
            self._transfer(address, b"", length)
        elif command == _STATUS:
            nak = 0 if self._acknowledged else 0x40
            return bytes((command, 0, 0, report[3] & _WANTS_SPEED)).ljust(20, b"\0") + bytes((nak,))
        elif command == _GET_DATA:
            return self._next_chunk()
        elif command == _GPIO:
            return bytes((command, 0)) + _INPUTS
        return bytes((command,))

    def _next_chunk(self) -> bytes:
        if not self._acknowledged:
            return bytes((_GET_DATA, 0, _NOT_ACKNOWLEDGED, 0))
        chunk, self._read = self._read[:_CHUNK], self._read[_CHUNK:]
        return bytes((_GET_DATA, 0, _READ_COMPLETE, len(chunk))) + chunk

    def _transfer(self, address: int, out: bytes, n: int) -> None:
        """One message; how it went is asked for afterwards."""
        try:
            self._read = self._wires.transfer(address, out, n)
            self._acknowledged = True
        except OSError:
            self._acknowledged = False
