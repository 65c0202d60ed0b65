"""One connection to an MQTT broker. Speaks paho, drives it in the caller's thread, and starts none of its own."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeagent.errors import UpstreamFault
from edgeagent.upstream import SLOWEST_BYTES_PER_S
from edgeagent.upstream.tls import OUR_CLOCK

__all__ = ["Connection", "Cut", "ReasonCode", "Version"]

Version = Literal["5", "3.1.1"]

WINDOW = 100
ONLINE, OFFLINE = b"online", b"offline"
KEEPALIVE_S = 60
_SESSION_S = 3600  # how long the broker remembers us, and
_WILL_DELAY_S = (
    10  # how soon after a cut it tells that we are away: a connection that is back sooner was never gone
)
_MOST_TURNS = 10_000  # of reading what is not to the point
_MOST_AT_ONCE = 100
_WHOLE_PACKET = 268_435_455
_GATHERED_BYTES = 65_536


class Cut(UpstreamFault):
    """The broker, or somebody on the way to it, has ended the connection."""


class Connection:
    """Connects when it is made. All its methods raise UpstreamFault when the broker is away; then it is of no more use.

    Args:
        url: For the words of a fault.
        host, port: Where the broker listens.
        version: Of MQTT.
        client_id: The session's name at the broker; a second client of that name throws the first one out.
        login: User name and password.
        tls: Whom to trust, and our own certificate.
        presence: A topic that says, retained, whether we are there; by last will also after a power cut.
        timeout_s: How long the broker may be silent when we wait for it.
    """

    def __init__(
        self,
        url: str,
        host: str,
        port: int,
        *,
        version: Version,
        client_id: str,
        login: tuple[str, str | None] | None = None,
        tls: ssl.SSLContext | None = None,
        presence: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self.window = WINDOW
        """How many messages may be under way; the broker may have asked for fewer."""
        self.max_packet_bytes = _WHOLE_PACKET
        self._url, self._timeout_s, self._presence, self._v5 = url, timeout_s, presence, version == "5"
        self._greeting: ReasonCode | None = None
        self._farewell: ReasonCode | None = None
        self._answers: dict[int, ReasonCode] = {}
        self._sizes_bytes: dict[int, int] = {}
        self._under_way_bytes = 0
        self._client = self._make(version, client_id, login, tls)
        try:
            self._open(host, port)
        except BaseException:
            self._hang_up()
            raise

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Begin to hand over a message; its number, by which `answers` speaks of it, and tells if it went wrong."""
        with self._client.gathering():
            info = self._client.publish(topic, payload, qos=1, retain=retain)
        self._sizes_bytes[info.mid] = len(payload)
        self._under_way_bytes += len(payload)
        return info.mid

    def answers(self) -> Mapping[int, ReasonCode]:
        """What the broker says of messages under way, by their numbers; waits for the first."""
        self._wait(lambda: bool(self._answers))
        answers, self._answers = self._answers, {}
        return answers

    def tend(self) -> None:
        """Keep the connection alive while nothing is sent; does not wait."""
        for _ in range(_MOST_AT_ONCE):
            if not self._ready(0):
                break
            self._client.loop_read()
        self._client.loop_misc()
        self._answers.clear()
        if self._client.socket() is None:
            raise self._lost()

    def close(self) -> None:
        """Say good-bye, and that we are away; never raises."""
        if self._client.is_connected():
            if self._presence:
                self._client.publish(self._presence, OFFLINE, qos=0, retain=True)
            self._client.disconnect()
        self._hang_up()

    def _make(
        self,
        version: Version,
        client_id: str,
        login: tuple[str, str | None] | None,
        tls: ssl.SSLContext | None,
    ) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,  # the sender's back-off decides
        )
        client.max_inflight_messages = (
            2 * WINDOW
        )  # ours is the window: paho's walks its whole queue at each answer
        client.connect_timeout = self._timeout_s
        if login:
            client.username_pw_set(*login)
        if tls:
            tls.sslsocket_class = _Line
            client.tls_set_context(tls)
        if self._presence:
            delay = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=_WILL_DELAY_S)
            client.will_set(
                self._presence, OFFLINE, qos=1, retain=True, properties=delay if self._v5 else None
            )
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        return client

    def _open(self, host: str, port: int) -> None:
        session = _properties(PacketTypes.CONNECT, SessionExpiryInterval=_SESSION_S)
        try:
            if self._v5:
                self._client.connect(host, port, KEEPALIVE_S, clean_start=False, properties=session)
            else:
                self._client.connect(host, port, KEEPALIVE_S)
        except (OSError, ValueError) as e:
            raise self._unreachable(e) from e
        self._wait(lambda: self._greeting is not None)
        if self._greeting is not None and self._greeting.is_failure:
            raise self._refused(self._greeting)
        if self._presence:
            self.publish(self._presence, ONLINE, retain=True)

    # What paho calls, all of it from within our own calls.

    def _connected(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._greeting = reason
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", _WHOLE_PACKET)

    def _disconnected(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._farewell = reason

    def _published(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._answers[mid] = reason
        self._under_way_bytes -= self._sizes_bytes.pop(mid, 0)

    # Reading and writing.

    def _wait(self, done: Callable[[], bool]) -> None:
        for _ in range(_MOST_TURNS):
            if done():
                return
            patience_s = self._timeout_s + self._under_way_bytes / SLOWEST_BYTES_PER_S
            if not self._ready(patience_s):
                raise self._fault(
                    f"no answer within {patience_s:.1f} s", "The broker is slow, hangs, or is none."
                )
            self._client.loop_read()
            self._client.loop_write()
        raise self._fault("it talks without answering", "Is `url` an MQTT broker?")

    def _ready(self, timeout_s: float) -> bool:
        """Wait until there is something to read, or room for what is to be written."""
        line = self._client.socket()
        if not isinstance(line, socket.socket):
            raise self._refused(self._greeting) if _failed(self._greeting) else self._lost()
        self._client.send_gathered()
        if self._client.has_read or (isinstance(line, ssl.SSLSocket) and line.pending()):
            return True
        poll = select.poll()
        poll.register(line, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        return bool(poll.poll(timeout_s * 1000))

    def _hang_up(self) -> None:
        line = self._client.socket()
        if isinstance(line, socket.socket):
            line.close()

    # What went wrong, in words.

    def _unreachable(self, error: OSError | ValueError) -> UpstreamFault:
        if isinstance(error, socket.gaierror):
            return self._fault("the name is not known", "Check the network and its DNS server, then `url`.")
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in OUR_CLOCK:
            return self._fault(
                f"TLS fails ({error.verify_message})",
                "Check the device's clock first, then the broker's certificate.",
            )
        if isinstance(error, ssl.SSLError):
            return self._fault(
                f"TLS fails ({error})", "Check `ca`, `certificate`, the device's clock, and the port."
            )
        if isinstance(error, TimeoutError):
            return self._fault(
                f"no connection within {self._timeout_s:g} s",
                "Check the network, a firewall, and `url`.",
            )
        said = getattr(error, "strerror", None) or error
        return self._fault(f"no connection ({said})", "Check the network, and whether the broker runs.")

    def _refused(self, reason: ReasonCode | None) -> UpstreamFault:
        """Its CONNACK said no."""
        said = str(reason)
        hint = _CONNECT_HINTS.get(said, "It is tried again; the broker's log says more.")
        return self._fault(f"the broker refuses the connection ({said})", hint)

    def _lost(self) -> UpstreamFault:
        if self._greeting is None:
            hint = "Is this the right port, with or without TLS? A broker of MQTT 3.1.1 alone needs `version: 3.1.1`."
            return self._fault("the connection was cut before the broker greeted us", hint)
        if self._farewell is None:
            hint = "It is tried again; nothing is lost. If it goes on: do two devices have one `device.id`?"
            return Cut("the connection was cut", where=self._url, hint=hint)
        said = str(self._farewell)
        hint = _FAREWELL_HINTS.get(said, "It is tried again; nothing is lost.")
        return Cut(f"the broker ended the connection ({said})", where=self._url, hint=hint)

    def _fault(self, what: str, hint: str) -> UpstreamFault:
        return UpstreamFault(what, where=self._url, hint=hint)


class _Client(Client):
    """paho, with its small reads and writes gathered: it asks the kernel three times for each answer, and once for
    each message. (Were it to name these two methods otherwise, it would be slower, and right still.)
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._out, self._in = bytearray(), memoryview(b"")
        self._gathers = False
        super().__init__(*args, **options)

    @property
    def has_read(self) -> bool:
        """Whether there are bytes that have been read already."""
        return bool(self._in)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """What is sent meanwhile may wait for `send_gathered`."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False

    def send_gathered(self) -> None:
        """As much as the kernel takes now. What fails here fails with paho's next call too, which tells."""
        with suppress(OSError):
            while self._out:
                del self._out[: super()._sock_send(self._out)]

    def want_write(self) -> bool:
        return bool(self._out) or super().want_write()

    def _sock_send(self, buf: bytes | bytearray) -> int:
        if self._gathers and len(self._out) + len(buf) <= _GATHERED_BYTES:
            self._out += buf
            return len(buf)
        self.send_gathered()
        if self._out:
            raise BlockingIOError
        return super()._sock_send(buf)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._in:
            self._in = memoryview(super()._sock_recv(max(bufsize, _GATHERED_BYTES)))
        some, self._in = self._in[:bufsize], self._in[bufsize:]
        return bytes(some)


class _Line(ssl.SSLSocket):
    """Closes when the handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  (the signature is ssl's)
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


_CONNECT_HINTS = {
    "Not authorized": "Check `username` and `password`, or `certificate`, and the broker's list of rights.",
    "Bad user name or password": "Check `username` and `password`.",
    "Unsupported protocol version": "Write `version: 3.1.1`.",
    "Client identifier not valid": "The broker does not take our session's name; its log says why.",
}
_FAREWELL_HINTS = {
    "Session taken over": "Another client came with our name: do two devices have one `device.id`?",
    "Packet too large": "Set `max_message` to what the broker takes.",
}


def _failed(reason: ReasonCode | None) -> bool:
    return reason is not None and reason.is_failure


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
