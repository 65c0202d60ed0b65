"""The messages, declared once: the codec packs by this table, and the tables of PROTOCOL.md are made from it.

A message's class body is its body on the wire, field by field. Bit 7 of the code is the direction.
After a change here: `python -m firmware_bridge.generate --write`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from firmware_bridge.wire import F32, U8, U16, U32, Group, Many, Rest, Text

PROTOCOL_VERSION = 1
TO_HOST = 0x80


class ChannelType(IntEnum):
    """How one sample of a channel lies in SAMPLES."""

    INT16 = 1


class Result(IntEnum):
    """How a SET ended."""

    OK = 0
    NO_SUCH_OUTPUT = 1
    OUT_OF_RANGE = 2
    DEAD_MAN = 3


class Message(Group):
    """One message; `CODE` is its first byte in the frame."""

    CODE: ClassVar[int]

    def __init_subclass__(cls, *, code: int) -> None:
        super().__init_subclass__()
        cls.CODE = code
        MESSAGES[code] = cls


MESSAGES: dict[int, type[Message]] = {}

# The room that later versions of the table have planned for; a receiver skips what it does not know.
PLANNED = {
    0x05: "CONFIG",
    0x06: "TIME",
    0x07: "PING",
    0x08: "BYE",
    0x85: "CONFIG",
    0x86: "TIME",
    0x87: "PING",
    0x88: "BYE",
    0x89: "LOG",
    0x8A: "FAULT",
}


@dataclass(frozen=True)
class ChannelInfo(Group):
    """One measured quantity."""

    name: Annotated[Text, "for example `current`"]
    unit: Annotated[Text, "the unit of a value, in UCUM or as people write it: `A`, `degC`"]
    type: Annotated[U8, "1: int16; others are not in use yet"]
    scale: Annotated[F32, "value = count * scale"]
    rate_hz: Annotated[F32, "samples a second; the same for all channels in this version"]


@dataclass(frozen=True)
class OutputInfo(Group):
    """One output that the host may set."""

    name: Annotated[Text, "for example `relay`"]
    safe: Annotated[F32, "what the board drives at its start and when the host falls silent"]
    low: Annotated[F32, "the least value; 0 for a switch"]
    high: Annotated[F32, "the greatest value; 1 for a switch"]


@dataclass(frozen=True)
class OutputValue(Group):
    """What one output is doing, by the board's own account."""

    value: Annotated[F32, "driven at this moment"]
    changes: Annotated[U32, "how often the value has changed since the board's start"]


@dataclass(frozen=True)
class HelloRequest(Message, code=0x01):
    """Who are you? Sent when the port is opened and each 250 ms until HELLO comes."""

    protocol: Annotated[U8, "the version that the host speaks: 1"]


@dataclass(frozen=True)
class Set(Message, code=0x02):
    """Drive an output. It names a state, not a change, so that obeying it twice does no harm."""

    correlation: Annotated[U16, "comes back in the ACK; a retry keeps it"]
    output: Annotated[U8, "index in HELLO's outputs, from 0"]
    value: Annotated[F32, "what to drive"]


@dataclass(frozen=True)
class HostHeartbeat(Message, code=0x03):
    """The host is alive: this alone feeds the dead-man switch. Empty."""


@dataclass(frozen=True)
class Hello(Message, code=0x81):
    """Who the board is and what it has. Sent at its start and when asked."""

    protocol: Annotated[U8, "the version that the board speaks: 1; stays first in every version"]
    uptime_ms: Annotated[U32, "since the board's start; less than before means that it was reset"]
    firmware: Annotated[Text, "name of the firmware"]
    firmware_version: Annotated[Text, "its version and build"]
    unique_id: Annotated[Text, "of this one board: its chip's serial number"]
    failsafe_ms: Annotated[U16, "the dead-man switch acts when the host has been silent this long"]
    channels: Annotated[tuple[ChannelInfo, ...], Many(ChannelInfo), "in the order of SAMPLES"]
    outputs: Annotated[tuple[OutputInfo, ...], Many(OutputInfo), "in the order of SET and HEARTBEAT"]


@dataclass(frozen=True)
class Ack(Message, code=0x82):
    """The answer to SET."""

    correlation: Annotated[U16, "of the SET"]
    output: Annotated[U8, "of the SET"]
    result: Annotated[U8, "0 done, 1 no such output, 2 value out of range, 3 refused by the dead-man switch"]
    value: Annotated[F32, "what the output does now; 0 if there is no such output"]


@dataclass(frozen=True)
class Heartbeat(Message, code=0x83):
    """The board is alive, and this is what its outputs do. At least once a second, and at each change."""

    uptime_ms: Annotated[U32, "as in HELLO"]
    failsafes: Annotated[U32, "how often the dead-man switch has acted since the board's start"]
    outputs: Annotated[tuple[OutputValue, ...], Many(OutputValue), "all, in the order of HELLO"]


@dataclass(frozen=True)
class Samples(Message, code=0x84):
    """Consecutive samples of all channels. Sent while the host's heartbeats come."""

    seq: Annotated[U32, "number of the first sample, counted from the board's start, sent or not"]
    t_us: Annotated[U32, "the board's time of the first sample; wraps"]
    dropped: Annotated[
        U32, "samples that the board did not send since its start, for want of room or of a host"
    ]
    count: Annotated[U16, "n, at least 1"]
    data: Annotated[Rest, "n * channels * int16, sample by sample"]
