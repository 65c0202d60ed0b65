"""Frames: COBS around one message and its CRC, a zero byte after each. Bytes in, messages out; no I/O.

    frame = COBS(code, body, CRC-16 high byte first) 00

The CRC is CRC-16/CCITT-FALSE over code and body, so over a good frame with its CRC it is 0.
"""

from __future__ import annotations

from binascii import crc_hqx

from cobs import cobs

from firmware_bridge.messages import MAX_TO_HOST_BYTES, MESSAGES, PROTOCOL_VERSION, Hello, Message
from firmware_bridge.wire import Malformed

DELIMITER = b"\0"
_CRC_BYTES = 2
_CRC_START = 0xFFFF


class VersionMismatch(Malformed):
    """HELLO of another version of the protocol: only its first field can be read."""

    def __init__(self, protocol: int) -> None:
        super().__init__(f"the board speaks protocol version {protocol}, this host {PROTOCOL_VERSION}")
        self.protocol = protocol


class UnknownMessage(Malformed):
    """A good frame with a code that is not in the table: from a later version, to be skipped."""


def encode(message: Message) -> bytes:
    """The message as a frame, delimiter included. Raises ValueError if it is longer than a frame may be."""
    return frame(bytes((message.CODE,)) + message.pack())


def frame(content: bytes) -> bytes:
    """Code and body as a frame, delimiter included. Raises ValueError if it is longer than a frame may be."""
    if len(content) + _CRC_BYTES > MAX_TO_HOST_BYTES:
        raise ValueError(f"{len(content) + _CRC_BYTES} bytes; at most {MAX_TO_HOST_BYTES}")
    crc = crc_hqx(content, _CRC_START).to_bytes(_CRC_BYTES, "big")
    return bytes(cobs.encode(content + crc)) + DELIMITER


def decode(content: bytes) -> Message:
    """The message in a frame's content (code and body, from `Decoder`).

    Raises:
        VersionMismatch: HELLO of another version.
        UnknownMessage: The code is not in the table.
        Malformed: The body is too short or too long for its message.
    """
    code = content[0]
    if code == Hello.CODE and content[1:2] not in (b"", bytes((PROTOCOL_VERSION,))):
        raise VersionMismatch(content[1])
    if code not in MESSAGES:
        raise UnknownMessage(f"unknown message code 0x{code:02X}")
    message, end = MESSAGES[code].unpack(content, 1)
    if end != len(content):
        raise Malformed(f"{type(message).__name__} has {len(content) - end} bytes too many")
    return message


class Decoder:
    """Finds the good frames in a stream of bytes, however it is cut and whatever lies between them.

    Args:
        max_bytes: The bound on code, body and CRC: MAX_TO_HOST_BYTES, or on a board MAX_TO_BOARD_BYTES.
        midway: Whether the stream may begin within a frame, whose rest then counts for nothing.
    """

    def __init__(self, max_bytes: int = MAX_TO_HOST_BYTES, *, midway: bool = False) -> None:
        self.bad_frames = 0
        self.begun_bytes = 0
        """How much has come of a frame that has not ended yet."""
        self._midway = midway
        self._max_bytes = max_bytes
        self._max_encoded_bytes = max_bytes + max_bytes // 254 + 1
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The content (code and body) of each good frame that `data` completes; bad ones are counted."""
        *ended, tail = (self._tail + data).split(DELIMITER)
        self._tail = tail[: self._max_encoded_bytes + 1]  # one byte over the bound says "too long"
        self.begun_bytes = len(tail)
        contents = []
        for encoded in ended:
            content = self._checked(encoded) if encoded else None
            if content is not None:
                contents.append(content)
            elif encoded and not self._midway:
                self.bad_frames += 1
            self._midway = False
        return contents

    def _checked(self, encoded: bytes) -> bytes | None:
        """Code and body of one frame without its delimiter; None if it is damaged."""
        if len(encoded) > self._max_encoded_bytes:
            return None
        try:
            content: bytes = cobs.decode(encoded)
        except cobs.DecodeError:
            return None
        if not _CRC_BYTES < len(content) <= self._max_bytes or crc_hqx(content, _CRC_START):
            return None
        return content[:-_CRC_BYTES]
