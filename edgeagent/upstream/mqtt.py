"""Records by MQTT to a broker: `plant: {mqtt: {url: "mqtts://broker.example.com", topic: "edge/{device.id}/{kind}"}}`.

QoS 1: a record is accepted when the broker has acknowledged its message, and not before. It may come twice; the
id tells. How long the broker keeps it, and whether through a power cut of its own, is the broker's configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

from edgeagent.config.findings import listed, nearest
from edgeagent.config.quantities import Bytes, FilePath, Seconds
from edgeagent.config.secrets import Secret
from edgeagent.config.template import Template, compile_template
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.records import Kind
from edgeagent.upstream import Advice, Name, Result
from edgeagent.upstream.broker import Connection, Cut, ReasonCode, Version
from edgeagent.upstream.messages import Message, Messages
from edgeagent.upstream.tls import address, check_identity, is_loopback, trust

PORTS = {"mqtt": 1883, "mqtts": 8883}
_NAMES = ("device.id", "kind")
_NOT_IN_A_TOPIC = "+#\0"
_NEVER_TOO_LARGE_BYTES = 100_000  # every broker takes so much
_CUTS = 3
# Several records share a message so long: the next is made while the broker has this one.
_BATCH_BYTES = 250_000
_AROUND_THE_PAYLOAD = 16  # bytes of an MQTT packet beside topic and payload, at most

# Reason codes of MQTT 5's PUBACK. Of what fails, these two are the message's own fault: it is not sent again.
_NOBODY_LISTENS = 0x10
_REFUSES_THE_MESSAGE = (0x95, 0x99)  # packet too large, payload format invalid


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the broker, and what to tell it.

    topic, presence: May name {device.id}; topic {kind} too. Under presence stands, retained, `online` or `offline`.
    message: A record or a batch of records each: a MessagePack or JSON array.
    certificate, key: This device's own, for brokers that tell devices apart by them.
    unheard: What becomes of a record for whose topic there is no subscriber, where the broker says so (MQTT 5).
    max_message: A longer record is refused here; where the broker names a limit (MQTT 5) the lower one holds.
    """

    url: str
    topic: str = "edge/{device.id}/{kind}"
    version: Version = "5"
    payload: Literal["msgpack", "json"] = "msgpack"
    message: Literal["record", "batch"] = "record"
    username: str | None = None
    password: Secret | None = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    presence: str = ""
    unheard: Literal["keep", "accept"] = "keep"
    max_message: Bytes = 100_000_000
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        _check_url(self.url)
        _topic(self.topic, "topic", _NAMES)
        _topic(self.presence, "presence", _NAMES[:1])
        if self.password and self.username is None:
            raise ConfigFault("a password without a name", where="password", expected="`username` beside it")
        check_identity(self.certificate, self.key)


def advise(options: Options) -> Iterator[Advice]:
    """Warns of what anybody on the network could read, and of what the broker could not say."""
    parts = urlsplit(options.url)
    if parts.scheme == "mqtt" and not is_loopback(parts.hostname or ""):
        what = "the password and all records" if options.password else "all records"
        yield Advice("url", f"mqtt:// sends {what} in clear; use mqtts://")
    if options.version == "3.1.1":
        text = "a broker cannot say by MQTT 3.1.1 that it has thrown a record away; use 5 if it knows that"
        yield Advice("version", text)


def build(name: str, options: Options, device: str) -> Mqtt:
    """A sink for one broker. Raises ConfigFault if a secret, a certificate or the device's id is of no use."""
    if set(device) & {*_NOT_IN_A_TOPIC, "/"}:
        raise ConfigFault(
            f"{device!r} cannot stand in a topic",
            where="device.id",
            expected="an id without + # and /",
        )
    return Mqtt(name, options, device)


class Mqtt:
    """Publishes records, a bounded number of messages under way, over a connection that is kept."""

    def __init__(self, name: str, options: Options, device: str) -> None:
        self.bytes_sent = 0
        self._options = options
        self._keeps_unheard = options.unheard == "keep"
        self._client_id = f"edgeagent-{device}-{name}"
        password = options.password.reveal() if options.password else None
        self._login = None if options.username is None else (options.username, password)
        is_secure = options.url.startswith("mqtts:")
        self._tls = trust(options.ca, options.certificate, options.key) if is_secure else None
        values = {"device.id": device}
        self._presence = _topic(options.presence, "presence", _NAMES[:1]).render(values.get)
        topic = _topic(options.topic, "topic", _NAMES)
        self._topics: dict[str, str] = {
            kind: topic.render({**values, "kind": kind}.get) for kind in get_args(Kind)
        }
        self._connection: Connection | None = None
        self._batch_bytes = options.max_message
        self._suspect: Sequence[Name] = ()
        self._cuts = 0
        self._window = 1

    def send(self, batch: Mapping[Name, bytes]) -> Result:
        """As the contract says. What the broker acknowledged before it went away stays accepted."""
        connection = self._alive()
        accepted: set[Name] = set()
        messages = self._messages(batch, connection.max_packet_bytes)
        rejected = messages.rejected
        trouble: UpstreamFault | None = None
        under_way: dict[int, Message] = {}
        try:
            while messages or under_way:
                while messages and len(under_way) < min(self._window, connection.window):
                    message = messages.pop()
                    under_way[connection.publish(message.topic, message.payload)] = message
                    self.bytes_sent += len(message.payload)
                answers = connection.answers()
                self._window += len(answers)
                for number, reason in answers.items():
                    answered = under_way.pop(number, None)
                    if answered is None:  # it was our presence's
                        continue
                    if reason.value in _REFUSES_THE_MESSAGE:
                        rejected |= dict.fromkeys(answered.names, f"the broker refuses it ({reason})")
                    elif reason.is_failure or (reason.value == _NOBODY_LISTENS and self._keeps_unheard):
                        trouble = self._kept_back(answered.topic, reason)
                    else:
                        accepted.update(answered.names)
        except UpstreamFault as fault:
            self._drop()
            if isinstance(fault, Cut) and len(under_way) == 1:
                rejected |= self._cut_at(*under_way.values())
            trouble = trouble or fault
        if trouble and not accepted and not rejected:
            raise trouble
        return Result(frozenset(accepted), rejected, trouble)

    def idle(self) -> None:
        """Be there, and stay, although there is nothing to send."""
        self._alive()

    def close(self) -> None:
        self._drop()

    def _cut_at(self, message: Message) -> dict[Name, str]:
        """What a message is refused for at which the broker has hung up again and again: too large, most likely.

        By MQTT 3.1.1 it cannot say so, and the message would stand before all others for ever.
        """
        size_bytes = len(message.payload)
        self._cuts = self._cuts + 1 if message.names == self._suspect else 1
        self._suspect = message.names
        if size_bytes < _NEVER_TOO_LARGE_BYTES or self._cuts < _CUTS:
            return {}
        if len(message.names) == 1:
            return {message.names[0]: f"the broker hangs up at it ({size_bytes} bytes)"}
        self._batch_bytes = size_bytes // 2
        return {}

    def _alive(self) -> Connection:
        """The connection, with all read that the broker has said meanwhile. Raises UpstreamFault."""
        try:
            self._connection = self._connection or self._connect()
            self._connection.tend()
        except UpstreamFault:
            self._drop()
            raise
        return self._connection

    def _connect(self) -> Connection:
        # Opens fast; a broker that cuts the connection at a message is then asked about that one alone.
        self._window = 1
        parts = urlsplit(self._options.url)
        return Connection(
            self._options.url,
            parts.hostname or "",
            parts.port or PORTS[parts.scheme],
            version=self._options.version,
            client_id=self._client_id,
            login=self._login,
            tls=self._tls,
            presence=self._presence,
            timeout_s=self._options.timeout,
        )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _messages(self, batch: Mapping[Name, bytes], max_packet_bytes: int) -> Messages:
        """What is to be published, and why what is not."""
        room_bytes = {topic: self._room_bytes(topic, max_packet_bytes) for topic in self._topics.values()}
        batch_bytes = self._batch_bytes if self._options.message == "batch" else None
        messages = Messages(self._topics, room_bytes, batch_bytes, in_json=self._options.payload == "json")
        messages.add(batch)
        return messages

    def _room_bytes(self, topic: str, max_packet_bytes: int) -> int:
        """What a message to a topic may hold."""
        return min(self._options.max_message, max_packet_bytes - len(topic.encode()) - _AROUND_THE_PAYLOAD)

    def _kept_back(self, topic: str, reason: ReasonCode) -> UpstreamFault:
        """The broker is there, and does not take what goes to this topic."""
        if not reason.is_failure:
            what = f"nobody has subscribed to {topic}: the broker would throw it away"
            hint = "Start what reads it, choose `kinds:`, or write `unheard: accept`."
        else:
            what = f"the broker takes nothing for {topic} ({reason})"
            hint = "Check the broker's list of rights and `topic`."
        return UpstreamFault(what, where=self._options.url, hint=hint)


def _check_url(url: str) -> None:
    expected = "mqtts://HOST or mqtts://HOST:PORT"
    if (parts := address(url, PORTS)) is None:
        raise ConfigFault("not a broker's URL", where="url", expected=expected)
    if parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment:
        hint = "Name and password belong under `username:` and `password:`."
        raise ConfigFault("more than a broker's address", where="url", expected=expected, hint=hint)


def _topic(text: str, key: str, known: tuple[str, ...]) -> Template:
    """A topic's template, checked. Raises ConfigFault."""
    template = compile_template(text)
    for name in template.names:
        if name not in known:
            what = f"{{{name}}} is not known here"
            raise ConfigFault(what, where=key, expected=listed(known), hint=nearest(name, known))
    if set(text) & set(_NOT_IN_A_TOPIC) or (key == "topic" and not text):
        raise ConfigFault("not a topic to publish to", where=key, expected="a topic without + and #")
    return template
