"""The checksum of Sensirion's chips, and of those that followed them: CRC-8 by the polynomial x^8 + x^5 + x^4 + 1."""

from __future__ import annotations

import math


def crc8(data: bytes, start: int) -> int:
    """`start` is 0xFF in the SHT3x (its datasheet's example: 0xBEEF gives 0x92), 0 in the HTU21D (0x683A: 0x7C)."""
    crc = start
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def checked(word: bytes, start: int) -> float:
    """The 16 bits in front of their checksum; NaN if that is not right."""
    return int.from_bytes(word[:2], "big") if crc8(word[:2], start) == word[2] else math.nan
