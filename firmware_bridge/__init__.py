"""The link between a microcontroller and its host: PROTOCOL.md, its message table, codec and host side.

Usable without edgeagent. No I/O: hand `Link.receive` what came, send what `Link.poll` returns.
"""

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.link import Burst, Configured, Echo, Greeted, Link, Mismatch, OutputState
from firmware_bridge.messages import PROTOCOL_VERSION
from firmware_bridge.wire import Malformed

__all__ = [
    "PROTOCOL_VERSION",
    "Burst",
    "Configured",
    "Decoder",
    "Echo",
    "Greeted",
    "Link",
    "Malformed",
    "Mismatch",
    "OutputState",
    "decode",
    "encode",
]
