"""Numbers in 16-bit words, as Modbus devices keep them: which type, in which order, how scaled."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgeagent.errors import ConfigFault

Type = Literal["int16", "uint16", "int32", "uint32", "float32"]
Order = Literal["big", "little"]

_FORMATS: dict[Type, str] = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "float32": ">f"}


class Number(NamedTuple):
    """value = number x scale + offset.

    `word_order` is that of the two words, `byte_order` that of the two bytes in each; the standard has big for both,
    many devices send the low word first.
    """

    type: Type = "uint16"
    scale: float = 1.0
    offset: float = 0.0
    word_order: Order = "big"
    byte_order: Order = "big"

    @property
    def words(self) -> int:
        """How many words it takes."""
        return struct.calcsize(_FORMATS[self.type]) // 2

    @property
    def lsb(self) -> float | None:
        """What one count is worth; None if the number is no count."""
        return self.scale if self.type != "float32" and not self.offset and self.scale > 0 else None

    def decode(self, words: Sequence[int]) -> float:
        ordered = words if self.word_order == "big" else words[::-1]
        data = b"".join(word.to_bytes(2, self.byte_order) for word in ordered)
        number: float = struct.unpack(_FORMATS[self.type], data)[0]
        return number * self.scale + self.offset

    def encode(self, value: float) -> list[int]:
        """Raises ConfigFault for a value that it cannot hold."""
        number = (value - self.offset) / self.scale
        try:
            data = struct.pack(_FORMATS[self.type], number if self.type == "float32" else round(number))
        except (struct.error, OverflowError, ValueError) as e:
            raise ConfigFault(f"{value:g} does not fit into {self.type} x {self.scale:g}") from e
        words = [int.from_bytes(data[at : at + 2], self.byte_order) for at in range(0, len(data), 2)]
        return words if self.word_order == "big" else words[::-1]


class Output(NamedTuple):
    """A coil, or a holding register with the number in it."""

    kind: Literal["coil", "holding"]
    address: int
    number: Number = Number()

    def __str__(self) -> str:
        return f"{self.kind} {self.address}"
