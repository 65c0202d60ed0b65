"""The messages, declared once: the codec packs by this table, the C header and PROTOCOL.md's tables are made from it.

A message's class body is its body on the wire, field by field. Bit 7 of the code is the direction; the rest is
shared by a request and its answer. After a change here: `python -m firmware_bridge.generate --write`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from firmware_bridge.wire import F32, U8, U16, U32, Group, Many, Rest, Text, Zeros

PROTOCOL_VERSION = 1
TO_HOST = 0x80

MAX_TO_HOST_BYTES = 1024
"""Code, body and CRC of a frame to the host; what is longer is never sent and never waited for."""

MAX_TO_BOARD_BYTES = 64
"""The same for a frame to the board."""

MAX_CHANNELS = 32
"""As many as CONFIG's mask has bits."""


class ChannelType(IntEnum):
    """How one sample of a channel lies in SAMPLES. The least integer, or NaN, says that there was no reading."""

    INT16 = 1
    INT32 = 2
    FLOAT32 = 3


class Result(IntEnum):
    """How a SET or CONFIG ended."""

    OK = 0
    NO_SUCH_OUTPUT = 1
    OUT_OF_RANGE = 2
    DEAD_MAN = 3


class Level(IntEnum):
    """How much a LOG matters."""

    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


class FaultKind(IntEnum):
    """What a FAULT is about, and so what its index counts: outputs, channels or nothing."""

    DEAD_MAN = 1
    MAX_ON = 2
    CHANNEL = 3
    OVERRUN = 4
    OTHER = 5


class Message(Group):
    """One message; `CODE` is its first byte in the frame."""

    CODE: ClassVar[int]

    def __init_subclass__(cls, *, code: int) -> None:
        super().__init_subclass__()
        cls.CODE = code
        MESSAGES[code] = cls


MESSAGES: dict[int, type[Message]] = {}


@dataclass(frozen=True)
class ChannelInfo(Group):
    """One measured quantity."""

    name: Annotated[Text, "for example `current`"]
    unit: Annotated[Text, "of a value, in UCUM: `A`, `Cel`, `m/s2`"]
    type: Annotated[U8, "1 int16, 2 int32, 3 float32"]
    enabled: Annotated[U8, "1 if it is in SAMPLES, 0 if CONFIG has taken it out"]
    scale: Annotated[F32, "value = number in SAMPLES * scale"]
    rate_hz: Annotated[F32, "samples a second, as they are taken now; the same for all channels"]


@dataclass(frozen=True)
class OutputInfo(Group):
    """One output that the host may set."""

    name: Annotated[Text, "for example `relay`"]
    safe: Annotated[F32, "what the board drives at its start, after BYE and when the host falls silent"]
    low: Annotated[F32, "the least value; 0 for a switch"]
    high: Annotated[F32, "the greatest value; 1 for a switch"]
    max_on_ms: Annotated[U32, "the longest that a SET to another value than `safe` holds; 0: no limit"]


@dataclass(frozen=True)
class OutputValue(Group):
    """What one output is doing, by the board's own account."""

    value: Annotated[F32, "driven at this moment"]
    changes: Annotated[U32, "how often the value has changed since the board's start"]


@dataclass(frozen=True)
class HelloRequest(Message, code=0x01):
    """Who are you? Sent when the port is opened and each 250 ms until HELLO comes."""

    newest: Annotated[U8, "the newest version that the host speaks: 1; stays first in every version"]
    oldest: Annotated[U8, "the oldest version that the host speaks: 1; stays second"]


@dataclass(frozen=True)
class Set(Message, code=0x02):
    """Drive an output. It names a state, not a change, so that obeying it twice does no harm."""

    correlation: Annotated[U16, "comes back in the ACK; a retry keeps it"]
    output: Annotated[U8, "index in HELLO's outputs, from 0"]
    value: Annotated[F32, "what to drive"]
    max_on_ms: Annotated[U32, "safe again after this long without a new SET; 0: the output's own limit alone"]


@dataclass(frozen=True)
class HostHeartbeat(Message, code=0x03):
    """The host is alive: this alone feeds the dead-man switch. Empty."""


@dataclass(frozen=True)
class Config(Message, code=0x05):
    """How to sample, from the next sample on. The board forgets it at a reset."""

    correlation: Annotated[U16, "comes back in the CONFIG_ACK; a retry keeps it"]
    rate_hz: Annotated[F32, "samples a second; 0: the board's own choice"]
    enabled: Annotated[U32, "bit i: channel i is in SAMPLES; 0: all are"]


@dataclass(frozen=True)
class TimeRequest(Message, code=0x06):
    """What time is it? As long as its answer, so that the way there takes as long as the way back."""

    id: Annotated[U16, "comes back in the TIME"]
    room: Annotated[Zeros, "zeros"] = bytes(8)


@dataclass(frozen=True)
class Ping(Message, code=0x07):
    """Say this back."""

    data: Annotated[Rest, "anything, up to the bound"]


@dataclass(frozen=True)
class Bye(Message, code=0x08):
    """The host leaves: outputs safe and SAMPLES off at once, as before its first HOST_HEARTBEAT. Empty."""


@dataclass(frozen=True)
class Hello(Message, code=0x81):
    """Who the board is, what it has and how it samples. Sent at its start and when asked."""

    protocol: Annotated[U8, "the version that the board speaks: 1; stays first in every version"]
    uptime_ms: Annotated[U32, "since the board's start; less than before means that it was reset"]
    failsafe_ms: Annotated[U16, "the dead-man switch acts when the host has been silent this long"]
    receive_bytes: Annotated[U16, "how many unanswered bytes the board can hold: 64 at least"]
    max_rate_hz: Annotated[F32, "the highest rate that CONFIG may ask for; 0: the rate is fixed"]
    config: Annotated[U8, "as in SAMPLES"]
    firmware: Annotated[Text, "name of the firmware"]
    firmware_version: Annotated[Text, "numbers with dots: `1.4.2`"]
    build_id: Annotated[Text, "of this very build: a commit or a hash"]
    unique_id: Annotated[Text, "of this one board: its chip's serial number"]
    channels: Annotated[tuple[ChannelInfo, ...], Many(ChannelInfo), "at most 32, in the order of SAMPLES"]
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
    bad_frames: Annotated[U32, "damaged frames that reached the board since its start"]
    outputs: Annotated[tuple[OutputValue, ...], Many(OutputValue), "all, in the order of HELLO"]


@dataclass  # a frozen one is filled by a call for each field, and a board sends hundreds a second
class Samples(Message, code=0x84):
    """Consecutive samples of the enabled channels. Sent while the host's heartbeats come."""

    seq: Annotated[U32, "number of the first sample, counted from the board's start, sent or not"]
    t_us: Annotated[U32, "the board's time of the first sample; wraps"]
    dropped: Annotated[
        U32, "samples that the board did not send since its start, for want of room or of a host"
    ]
    config: Annotated[U8, "how often CONFIG was obeyed since the board's start, modulo 256"]
    count: Annotated[U16, "n, at least 1"]
    data: Annotated[Rest, "n samples, one after the other: a number of each enabled channel, without padding"]


@dataclass(frozen=True)
class ConfigAck(Message, code=0x85):
    """The answer to CONFIG: how the board samples from now on. Comes before the first SAMPLES that are so."""

    correlation: Annotated[U16, "of the CONFIG"]
    result: Annotated[U8, "0 done, 2 rate or channels out of range: all is as before"]
    config: Annotated[U8, "as in SAMPLES"]
    rate_hz: Annotated[F32, "now: the nearest to what was asked that the board can do"]
    enabled: Annotated[U32, "now: bit i for channel i"]


@dataclass(frozen=True)
class Time(Message, code=0x86):
    """The answer to TIME_REQUEST, by the clock of SAMPLES."""

    id: Annotated[U16, "of the TIME_REQUEST"]
    received_us: Annotated[U32, "when the request was there"]
    sent_us: Annotated[U32, "when this answer left"]


@dataclass(frozen=True)
class Pong(Message, code=0x87):
    """The answer to PING."""

    data: Annotated[Rest, "of the PING"]


@dataclass(frozen=True)
class Log(Message, code=0x89):
    """What the firmware has to say to people."""

    level: Annotated[U8, "1 error, 2 warning, 3 info, 4 debug"]
    text: Annotated[Text, "one line"]


@dataclass(frozen=True)
class Fault(Message, code=0x8A):
    """Something went wrong on the board, said once when it happens."""

    kind: Annotated[
        U8, "1 dead-man switch acted, 2 max_on ran out, 3 channel cannot be read, 4 samples overrun, 5 other"
    ]
    index: Annotated[U8, "of the output (2) or channel (3) in HELLO; else 0"]
    text: Annotated[Text, "what, for people; may be empty"]
