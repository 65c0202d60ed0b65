"""What a register's bytes mean, which registers are read together, and what cannot be meant."""

from __future__ import annotations

import math
import struct

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.i2c import I2cBus
from edgeagent.errors import ConfigFault
from edgeagent.sensors.i2c_registers import DescribedChip, Options, Register, Write, blocks, layout


def register(**keys: object) -> Register:
    return Register(**{"register": 0, "unit": "", **keys})  # type: ignore[arg-type]


def options(*registers: Register, **keys: object) -> Options:
    named = {f"r{i}": r for i, r in enumerate(registers)}
    return Options(**{"bus": "i2c-1", "address": 0x20, "registers": named, **keys})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "data", "value"),
    [
        ({"type": "uint8"}, b"\xff", 255),
        ({"type": "int8"}, b"\xff", -1),
        ({"type": "uint16"}, b"\x01\x02", 258),
        ({"type": "uint16", "endianness": "little"}, b"\x01\x02", 513),
        ({"type": "int16"}, b"\x80\x00", -32768),
        ({"type": "uint24"}, b"\x01\x00\x00", 65536),
        ({"type": "int24", "endianness": "little"}, b"\xff\xff\xff", -1),
        ({"type": "int32"}, b"\xff\xff\xff\xfe", -2),
        ({"type": "float32"}, struct.pack(">f", 1.5), 1.5),
        ({"type": "float32", "endianness": "little"}, struct.pack("<f", -2.25), -2.25),
        ({"type": "uint8", "bits": "3"}, b"\x08", 1),
        ({"type": "uint8", "bits": "6-4"}, b"\xbf", 3),
        ({"type": "int16", "bits": "15-4"}, b"\xff\xf0", -1),
        ({"type": "int16", "bits": "15-4"}, b"\x7f\xff", 2047),
        ({"type": "int8", "bits": "2-0"}, b"\x04", -4),
        ({"type": "uint8", "scale": 0.5, "offset": -40.0}, b"\x64", 10),
    ],
)
def test_bytes_are_read_as_type_byte_order_and_bits_say(
    keys: dict[str, object], data: bytes, value: float
) -> None:
    assert register(**keys).value(data) == value


@pytest.mark.parametrize(
    ("keys", "lsb"),
    [({"scale": 0.25}, 0.25), ({"scale": -2.0}, 2.0), ({"offset": 1.0}, None), ({"type": "float32"}, None)],
)
def test_a_channel_has_a_value_of_one_count_where_counts_can_be_had_back(
    keys: dict[str, object], lsb: float | None
) -> None:
    (channel,) = layout(options(register(**keys))).channels
    assert channel.lsb == lsb


def reads(described: Options) -> list[tuple[int, int]]:
    return [(block.first, block.end - block.first) for block in blocks(described)]


def test_registers_side_by_side_are_one_read_and_what_lies_between_others_is_not_touched() -> None:
    x, y, far = (register(register=n, type="int16") for n in (0x10, 0x12, 0x15))
    assert reads(options(far, y, x)) == [(0x10, 4), (0x15, 2)]


def test_a_read_is_32_bytes_at_most() -> None:
    assert reads(options(*(register(register=4 * k, type="uint32") for k in range(9)))) == [(0, 32), (32, 4)]


def test_parts_of_one_register_are_read_once_even_where_numbers_do_not_count_up() -> None:
    low, high = (register(register=0x05, type="uint16", bits=b) for b in ("7-0", "15-8"))
    other = register(register=0x06, type="uint16")
    assert reads(options(low, high, other, auto_increment=False)) == [(5, 2), (6, 2)]


def test_a_block_is_one_transaction() -> None:
    class Counting:
        transfers: list[tuple[bytes, int]]

        def __init__(self) -> None:
            self.transfers = []

        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            self.transfers.append((out, n))
            return bytes(range(n))

        def close(self) -> None:
            pass

    adapter = Counting()
    bus = I2cBus("fake:x", VirtualClock(), lambda: adapter)
    chip = DescribedChip(bus, options(*(register(register=0x20 + k) for k in range(6))))
    assert chip.measure().values == (0, 1, 2, 3, 4, 5)
    assert adapter.transfers == [(b"\x20", 6)]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (Write(register=0x2D, value=8), b"\x2d\x08"),
        (Write(register=1, value=0x60C0, type="uint16"), b"\x01\x60\xc0"),
        (Write(register=1, value=0x60C0, type="uint16", endianness="little"), b"\x01\xc0\x60"),
        (Write(register=1, value=-2, type="int8"), b"\x01\xfe"),
    ],
)
def test_what_is_written_at_the_start_has_a_type_and_byte_order_too(write: Write, message: bytes) -> None:
    assert write.message() == message


def test_what_is_not_finite_is_nan_with_a_reason() -> None:
    class Infinite:
        def transfer(self, address: int, out: bytes, n: int) -> bytes:
            return struct.pack(">f", math.inf)

        def close(self) -> None:
            pass

    bus = I2cBus("fake:x", VirtualClock(), Infinite)
    row = DescribedChip(bus, options(register(type="float32"))).measure()
    assert math.isnan(row.values[0])
    assert row.reason == "not a finite number"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: layout(options()), "no registers"),
        (
            lambda: layout(options(*(register(register=n, type="uint16") for n in (0, 1)))),
            "r1 begins within the register before it.*auto_increment: off",
        ),
        (lambda: register(type="uint8", bits="8"), "uint8 has no such bits; expected .* of 7-0"),
        (lambda: register(type="uint16", bits="4-15"), "no such bits"),
        (lambda: register(type="uint16", bits="a"), "no such bits"),
        (lambda: register(type="float32", bits="3-0"), "float32 has no such bits"),
        (lambda: Write(register=0, value=256), "0x100 is too great for uint8"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: object, says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        make()  # type: ignore[operator]
