"""How one value lies in a frame's body: numbers little-endian, text with its length before it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, Self, get_type_hints


class Malformed(ValueError):
    """Bytes that are not the message they claim to be; the text says why."""


class Wire(Protocol):
    """A wire type: its name in PROTOCOL.md, and the way there and back."""

    name: str

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, body: bytes, at: int) -> tuple[Any, int]:
        """The value at offset `at`, and the offset behind it. Raises Malformed."""
        ...


class Number:
    """An integer or float of fixed size; `code` is its letter in the `struct` module."""

    def __init__(self, name: str, code: str) -> None:
        self.name, self.code = name, code
        self._struct = struct.Struct("<" + code)
        self.size_bytes = self._struct.size

    def pack(self, value: float) -> bytes:
        return self._struct.pack(value)

    def unpack(self, body: bytes, at: int) -> tuple[Any, int]:
        end = at + self.size_bytes
        if end > len(body):
            raise Malformed(f"ends within a {self.name} at byte {at}")
        return self._struct.unpack_from(body, at)[0], end


class Float32(Number):
    """A float of four bytes, read as the shortest decimal that is this float: 0.01, not 0.009999999776."""

    def __init__(self) -> None:
        super().__init__("f32", "f")

    def unpack(self, body: bytes, at: int) -> tuple[float, int]:
        exact, end = super().unpack(body, at)
        return shortest(exact), end


class LengthText:
    """UTF-8 with its length in bytes before it, one byte: at most 255."""

    name = "text"

    def pack(self, value: str) -> bytes:
        data = value.encode()
        return bytes((len(data),)) + data

    def unpack(self, body: bytes, at: int) -> tuple[str, int]:
        start = at + 1
        end = start + body[at] if at < len(body) else start
        if end > len(body):
            raise Malformed(f"ends within a text at byte {at}")
        try:
            return body[start:end].decode(), end
        except UnicodeDecodeError as e:
            raise Malformed(f"text at byte {at} is not UTF-8") from e


class RestOfBody:
    """Bytes up to the end of the body; always the last field."""

    name = "bytes"

    def pack(self, value: bytes) -> bytes:
        return value

    def unpack(self, body: bytes, at: int) -> tuple[bytes, int]:
        return body[at:], len(body)


class Padding:
    """So many zeros; what stands there is not looked at."""

    name = "8 bytes"
    size_bytes = 8

    def pack(self, value: bytes) -> bytes:
        return value

    def unpack(self, body: bytes, at: int) -> tuple[bytes, int]:
        end = at + self.size_bytes
        if end > len(body):
            raise Malformed(f"ends within {self.name} at byte {at}")
        return body[at:end], end


class Field(NamedTuple):
    """One field of a group: its name, how it lies in the body, and what it means."""

    name: str
    wire: Wire
    meaning: str


class Group:
    """Fields that follow one another. A subclass is a frozen dataclass whose annotations are the declaration:

    rate_hz: Annotated[F32, "samples a second"]
    """

    FIELDS: ClassVar[tuple[Field, ...]] = ()
    _HEAD: ClassVar[struct.Struct]
    """The plain numbers that it begins with: read at once, for boards that send hundreds of frames a second."""
    _TAIL: ClassVar[tuple[Field, ...]]
    _RAW: ClassVar[bool]
    """Whether the rest of the body is all that follows."""

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.FIELDS = tuple(
            Field(name, *hint.__metadata__) for name, hint in hints.items() if hasattr(hint, "__metadata__")
        )
        head = "".join(_plain_codes(cls.FIELDS))
        cls._HEAD, cls._TAIL = struct.Struct("<" + head), cls.FIELDS[len(head) :]
        cls._RAW = [type(field.wire) for field in cls._TAIL] == [RestOfBody]

    def pack(self) -> bytes:
        return b"".join(field.wire.pack(getattr(self, field.name)) for field in self.FIELDS)

    @classmethod
    def unpack(cls, body: bytes, at: int = 0) -> tuple[Self, int]:
        """The group at offset `at`, and the offset behind it. Raises Malformed."""
        values: tuple[Any, ...] = ()
        fields, end = cls.FIELDS, at + cls._HEAD.size
        if end <= len(body):  # else the field says so in which it ends
            values, fields, at = cls._HEAD.unpack_from(body, at), cls._TAIL, end
            if cls._RAW:
                values, fields, at = (*values, body[at:]), (), len(body)
        for field in fields:
            value, at = field.wire.unpack(body, at)
            values += (value,)
        return cls(*values), at


def _plain_codes(fields: tuple[Field, ...]) -> Iterator[str]:
    """Of the fields up to the first that is more than a number of `struct`."""
    for field in fields:
        if type(field.wire) is not Number:
            return
        yield field.wire.code


class Many:
    """A count (one byte), and that many groups of fields."""

    def __init__(self, item: type[Group]) -> None:
        self.item = item
        self.name = f"u8 n, n of {item.__name__}"

    def pack(self, value: tuple[Group, ...]) -> bytes:
        return bytes((len(value),)) + b"".join(item.pack() for item in value)

    def unpack(self, body: bytes, at: int) -> tuple[tuple[Group, ...], int]:
        if at >= len(body):
            raise Malformed(f"ends before a count at byte {at}")
        items, end = [], at + 1
        for _ in range(body[at]):
            item, end = self.item.unpack(body, end)
            items.append(item)
        return tuple(items), end


U8 = Annotated[int, Number("u8", "B")]
U16 = Annotated[int, Number("u16", "H")]
U32 = Annotated[int, Number("u32", "I")]
F32 = Annotated[float, Float32()]
Text = Annotated[str, LengthText()]
Rest = Annotated[bytes, RestOfBody()]
Zeros = Annotated[bytes, Padding()]


def shortest(value: float) -> float:
    """The decimal with the fewest digits that is the same 32-bit float. Raises OverflowError beyond its range."""
    packed = struct.pack("<f", value)
    exact: float = struct.unpack("<f", packed)[0]
    if exact.is_integer() and abs(exact) < 1e6:
        return exact
    for digits in range(6, 9):
        if struct.pack("<f", near := float(f"{exact:.{digits}g}")) == packed:
            return near
    return exact
