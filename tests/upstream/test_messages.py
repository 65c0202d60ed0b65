"""Which records share a message. Without a broker: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.upstream.messages import Message, Messages

TOPICS = {kind: f"edge/{kind}" for kind in ("event", "health", "prediction")}
ROOM_BYTES = 1000


def record(number: int, kind: str = "event", size: int = 0) -> bytes:
    return msgspec.msgpack.encode({"id": f"d/0123456789ab/{number}", "kind": kind, "body": bytes(size)})


def gathered(
    batch: Mapping[int, bytes],
    batch_bytes: int | None = ROOM_BYTES,
    room_bytes: int = ROOM_BYTES,
    *,
    json: bool = False,
) -> tuple[list[Message], dict[int, str]]:
    messages = Messages(TOPICS, dict.fromkeys(TOPICS.values(), room_bytes), batch_bytes, in_json=json)
    messages.add(batch)
    finished = []
    while messages:
        finished.append(messages.pop())
    return finished, messages.rejected


def test_records_of_one_kind_share_a_message_though_others_stand_between_them() -> None:
    batch = {n: record(n, "health" if n == 3 else "event") for n in range(1, 6)}
    messages, rejected = gathered(batch)
    assert [(one.topic, one.names) for one in messages] == [
        ("edge/event", [1, 2, 4, 5]),
        ("edge/health", [3]),
    ]
    assert msgspec.msgpack.decode(messages[0].payload)[2]["id"] == "d/0123456789ab/4"
    assert not rejected


def test_each_record_alone_is_as_it_is_and_in_order() -> None:
    batch = {n: record(n, kind) for n, kind in enumerate(("event", "health", "event"))}
    messages, _ = gathered(batch, batch_bytes=None)
    assert [(one.names, one.payload) for one in messages] == [([n], batch[n]) for n in range(3)]


def test_what_is_longer_than_a_batch_may_be_and_no_longer_than_a_message_goes_alone() -> None:
    batch = {1: record(1), 2: record(2, size=500), 3: record(3), 4: record(4, size=2000), 5: record(5)}
    messages, rejected = gathered(batch, batch_bytes=200)
    assert [one.names for one in messages] == [[1], [2], [3, 5]]
    assert rejected == {4: f"too large for the broker ({len(batch[4])} bytes)"}


@pytest.mark.parametrize("json", [False, True])
def test_what_cannot_be_read_is_refused_wherever_it_stands_and_spoils_no_message(*, json: bool) -> None:
    batch = {0: record(0)[:-1], 1: record(1), 2: record(2, "poem"), 3: record(3), 4: b"\xc1"}
    messages, rejected = gathered(batch, json=json)
    assert [one.names for one in messages] == [[1, 3]]
    assert rejected.keys() == {0, 2, 4}
    decode = msgspec.json.decode if json else msgspec.msgpack.decode
    assert [one["id"] for one in decode(messages[0].payload)] == ["d/0123456789ab/1", "d/0123456789ab/3"]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(TOPICS)), st.integers(0, 400)), max_size=60),
    st.sampled_from([60, 300, 1000]),
    st.booleans(),
)
def test_whatever_comes_is_in_one_message_of_its_kind_none_too_long_and_none_shorter_than_it_could_be(
    made: list[tuple[str, int]], batch_bytes: int, json: bool
) -> None:
    batch = {n: record(n, kind, size) for n, (kind, size) in enumerate(made)}
    messages, rejected = gathered(batch, batch_bytes, 300, json=json)
    assert sorted([*(name for one in messages for name in one.names), *rejected]) == list(batch)
    for one in messages:
        assert {TOPICS[made[name][0]] for name in one.names} == {one.topic}
        assert one.names == sorted(one.names)
        assert len(one.payload) <= (300 + 5 if len(one.names) == 1 else min(batch_bytes, 300))
    for topic in TOPICS.values():
        lengths = [len(one.payload) for one in messages if one.topic == topic]
        for this, following in pairwise(lengths):
            assert this + following > min(batch_bytes, 300) - 10, "they would have gone together"
