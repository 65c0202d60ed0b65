"""Which records go to a broker in which message. Bytes only, no network.

Records of one kind that follow one another are handled as one, and nearly all of a batch does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

import msgspec

from edgeagent.records import Kind
from edgeagent.upstream import Name
from edgeagent.upstream.codec import as_json, encode_batch

_AROUND_A_BATCH = 5  # bytes of an array beside its items
_NO_KIND = "cannot be read: it is of no kind that is known"


class Message(NamedTuple):
    """What goes to the broker, and the names of the records in it."""

    topic: str
    payload: bytes
    names: Sequence[Name]


class Messages:
    """Records on their way into messages; `rejected` says why some are in none.

    Args:
        topics: By kind.
        room_bytes: How long a message may be, by topic.
        batch_bytes: How long one of several records may be; None: each goes alone.
        in_json: Whether they go as JSON, and not as the MessagePack that they are.
    """

    def __init__(
        self,
        topics: Mapping[str, str],
        room_bytes: Mapping[str, int],
        batch_bytes: int | None,
        *,
        in_json: bool,
    ) -> None:
        self.rejected: dict[Name, str] = {}
        self._topics, self._room_bytes, self._batch_bytes = topics, room_bytes, batch_bytes
        self._in_json = in_json
        self._begun: deque[_Begun] = deque()
        self._newest: dict[str, _Begun] = {}

    def add(self, batch: Mapping[Name, bytes]) -> None:
        names, records = list(batch), list(batch.values())
        end = 0
        for kind, run in groupby(_kinds(records)):
            start, end = end, end + len(list(run))
            self._add(kind, names[start:end], records[start:end])

    def __bool__(self) -> bool:
        return bool(self._begun)

    def pop(self) -> Message:
        """In the order in which they were begun; made now, while the broker has the ones before."""
        one = self._begun.popleft()
        payload = one.records[0] if self._batch_bytes is None else self._as_batch(one.records)
        return Message(one.topic, payload, one.names)

    def _add(self, kind: str, names: list[Name], records: list[bytes]) -> None:
        """Records of one kind; "" if they are of none."""
        if not kind:
            self.rejected |= dict.fromkeys(names, _NO_KIND)
            return
        if self._in_json:
            names, records = self._as_json(names, records)
        if self._batch_bytes is None:
            for name, record in zip(names, records, strict=True):
                self._begin(self._topics[kind], name, record)
        elif names:
            self._gather(self._topics[kind], names, records, self._batch_bytes)

    def _gather(self, topic: str, names: list[Name], records: list[bytes], batch_bytes: int) -> None:
        """Into the topic's newest message, as much as it holds; what it does not begins others."""
        most_bytes = min(self._room_bytes[topic], batch_bytes)
        ends_bytes = list(accumulate([len(record) + 1 for record in records], initial=0))
        at = 0
        while at < len(records):
            newest = self._newest.get(topic)
            room_bytes = most_bytes - newest.size_bytes if newest else 0
            end = bisect_right(ends_bytes, ends_bytes[at] + room_bytes) - 1
            if newest and end > at:
                newest.names += names[at:end]
                newest.records += records[at:end]
                newest.size_bytes += ends_bytes[end] - ends_bytes[at]
            else:
                end = at + 1
                self._begin(topic, names[at], records[at])
            at = end

    def _begin(self, topic: str, name: Name, record: bytes) -> None:
        if len(record) > self._room_bytes[topic]:
            self.rejected[name] = f"too large for the broker ({len(record)} bytes)"
            return
        self._newest[topic] = _Begun(topic, name, record)
        self._begun.append(self._newest[topic])

    def _as_json(self, names: list[Name], records: list[bytes]) -> tuple[list[Name], list[bytes]]:
        lines: dict[Name, bytes] = {}
        for name, record in zip(names, records, strict=True):
            try:
                lines[name] = as_json(_decode(record))
            except ValueError as e:
                self.rejected[name] = f"cannot be read: {e}"
        return list(lines), list(lines.values())

    def _as_batch(self, records: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(records) + b"]" if self._in_json else encode_batch(records)


class _Begun:
    """A message that is growing."""

    __slots__ = ("names", "records", "size_bytes", "topic")

    def __init__(self, topic: str, name: Name, record: bytes) -> None:
        self.topic = topic
        self.names, self.records = [name], [record]
        self.size_bytes = _AROUND_A_BATCH + len(record) + 1


class _Head(msgspec.Struct, frozen=True):
    kind: Kind


_decode = msgspec.msgpack.Decoder().decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_heads = msgspec.msgpack.Decoder(list[_Head]).decode


def _kinds(records: Sequence[bytes]) -> list[str]:
    """Of each record; "" of one that cannot be read."""
    try:
        return [head.kind for head in _decode_heads(encode_batch(records))]
    except ValueError:
        return list(map(_kind, records))


def _kind(record: bytes) -> str:
    try:
        return _decode_head(record).kind
    except ValueError:
        return ""
