from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.records import Priority, Record
from edgeagent.timebase import Wall
from edgeagent.upstream.codec import (
    decode_answer,
    decode_batch,
    decode_record,
    encode_answer,
    encode_batch,
    file_name,
    stamp,
)

RECORD = Record(
    id="press-07/0123456789ab/17",
    kind="event",
    run="0123456789ab",
    boot_id="boot",
    mono_ns=5_000_000_000,
    time=None,
    clock="unsynced",
    priority=Priority.EVENT,
    body={"type": "alert", "raw": b"\x00\x01"},
)
PAYLOAD = msgspec.msgpack.encode(RECORD)
SYNCED = Wall(86_400_000_000_000, synced=True)


def changed(**changes: object) -> bytes:
    return msgspec.msgpack.encode(msgspec.to_builtins(RECORD, builtin_types=(bytes,)) | changes)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_a_batch_is_what_any_messagepack_library_makes_of_a_list(count: int) -> None:
    body = encode_batch([b"\xa1x"] * count)
    assert body == msgspec.msgpack.encode(["x"] * count)
    assert decode_batch(body) == [b"\xa1x"] * count


def test_records_come_out_of_a_batch_as_they_went_in() -> None:
    (payload,) = decode_batch(encode_batch([PAYLOAD]))
    assert decode_record(payload) == RECORD


def test_a_record_made_before_the_time_was_known_is_stamped_when_it_is_sent() -> None:
    sent = decode_record(stamp(PAYLOAD, "boot", SYNCED))
    assert (sent.time, sent.clock) == ("1970-01-02T00:00:05.000000Z", "corrected")
    assert msgspec.structs.replace(sent, time=None, clock="unsynced") == RECORD


@pytest.mark.parametrize(
    ("payload", "boot", "wall"),
    [
        (PAYLOAD, "boot", Wall(SYNCED.offset_ns, synced=False)),
        (PAYLOAD, "another boot", SYNCED),
        (changed(clock="synced", time="2026-01-01T00:00:00Z"), "boot", SYNCED),
    ],
)
def test_a_record_that_cannot_or_need_not_be_stamped_goes_as_it_is(
    payload: bytes, boot: str, wall: Wall
) -> None:
    assert stamp(payload, boot, wall) is payload


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "press-07/17"}, "device/run/seq"),
        ({"id": "a/b/0123456789ab/1"}, "device/run/seq"),
        ({"id": "../0123456789ab/-1"}, "device/run/seq"),
        ({"id": "x" * 300 + "/0123456789ab/1"}, "device/run/seq"),
        ({"id": "a\nb/0123456789ab/1"}, "device/run/seq"),
        ({"time": "../../etc/passwd"}, "RFC 3339"),
        ({"time": "2026-01-01T00:00:00+01:00"}, "RFC 3339"),
        ({"kind": "poem"}, "kind"),
        ({"priority": 9}, "priority"),
        ({"body": []}, "body"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_record(changed(**changes))


def test_an_answer_says_accepted_or_rejected_with_the_reason_for_each_record() -> None:
    result = decode_answer(encode_answer([None, "too odd"]), ["a", "b"])
    assert result.accepted == {"a"}
    assert result.rejected == {"b": "too odd"}


def test_a_word_that_we_do_not_know_keeps_the_record() -> None:
    result = decode_answer(b'{"results": ["accepted", "later, perhaps", "REJECTED: no"]}', ["a", "b", "c"])
    assert result.accepted == {"a"}
    assert result.rejected == {}


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"{}", b'{"results": ["accepted"]}', b'{"results": [1, 2]}']
)
def test_an_answer_that_is_none_says_nothing_of_any_record(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"Input|Object|JSON|results|Expected"):
        decode_answer(answer, ["a", "b"])


@given(st.text(min_size=1, max_size=300))
def test_a_file_name_has_no_way_out_of_its_folder_and_fits_the_file_system(record_id: str) -> None:
    name = file_name(record_id)
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= 200


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_ids_never_share_a_file_name(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_batch_or_record_are_value_errors_only(junk: bytes) -> None:
    for decode in (decode_batch, decode_record):
        try:
            decode(junk)
        except ValueError:
            continue


def test_a_batch_nested_a_hundred_thousand_deep_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"Expected|deep"):
        decode_record(b"\x91" * 100_000 + b"\x90")
    with pytest.raises(ValueError, match="deep"):
        decode_batch(b"\x91" * 100_000 + b"\x90")
