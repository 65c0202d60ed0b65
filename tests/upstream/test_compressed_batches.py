"""Batches under zstd: only to a receiver that says it takes them, and a receiver that no frame can fill up."""

from __future__ import annotations

import http.client
import json
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from backports import zstd
from scripted import answer, scripted
from test_upload import collector, stored

from edgeagent.collector.server import Server
from edgeagent.packing import TooLong, decompress
from edgeagent.upstream import http as sinks
from edgeagent.upstream.codec import decode_batch, encode_batch

RUN = "0123456789ab"
FINE = json.dumps({"results": ["accepted"] * 50}).encode()
TAKES_ZSTD = "Accept-Encoding: zstd"


def batch(start: int = 1, text: bytes = b"walking") -> dict[str, bytes]:
    fields = {"kind": "event", "run": RUN, "boot_id": "b", "mono_ns": 1, "time": None, "clock": "unsynced"}
    fields |= {"priority": 4, "body": {"text": text}, "schema": 1}
    ids = [f"d/{RUN}/{seq}" for seq in range(start, start + 50)]
    return {one: msgspec.msgpack.encode({"id": one} | fields) for one in ids}


def sink(url: str) -> sinks.Http:
    return sinks.build("fleet", sinks.Options(url=url), "d")


def coding_and_body(request: bytes) -> tuple[bool, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    return b"content-encoding: zstd" in head.lower(), body


def test_a_collector_says_that_it_takes_zstd_and_the_next_batch_is_a_fraction_on_the_line(
    tmp_path: Path,
) -> None:
    with collector(tmp_path) as server:
        one = sink(server.url)
        sent_bytes = []
        for start in (1, 51, 101):
            before = one.bytes_sent
            assert one.send(batch(start)).accepted == set(batch(start))
            sent_bytes.append(one.bytes_sent - before)
        one.close()
    assert sent_bytes[0] == len(encode_batch(list(batch().values())))
    assert max(sent_bytes[1:]) < sent_bytes[0] / 4
    assert sorted(stored(tmp_path)) == sorted({**batch(1), **batch(51), **batch(101)})


def test_what_is_counted_as_sent_is_what_went_over_the_line() -> None:
    with scripted(answer(200, FINE, TAKES_ZSTD)) as server:
        one = sink(server.url)
        for _ in range(2):
            one.send(batch())
        one.close()
    (was_packed, plain), (is_packed, packed) = map(coding_and_body, server.requests)
    assert (was_packed, is_packed) == (False, True)
    assert decode_batch(decompress(packed, len(plain))) == list(batch().values())
    assert one.bytes_sent == len(plain) + len(packed)


def test_a_receiver_that_does_not_speak_of_zstd_is_never_sent_any() -> None:
    with scripted(answer(200, FINE, "Accept-Encoding: gzip")) as server:
        one = sink(server.url)
        for _ in range(3):
            one.send(batch())
        one.close()
    assert [coding_and_body(request)[0] for request in server.requests] == [False] * 3


def test_a_receiver_that_speaks_of_zstd_and_refuses_it_gets_the_batch_plain_and_is_not_tried_again() -> None:
    promises, refuses = answer(200, FINE, TAKES_ZSTD), answer(415, b"what is that?", TAKES_ZSTD)
    with scripted(promises, refuses, promises) as server:
        one = sink(server.url)
        for _ in range(3):
            assert one.send(batch()).accepted == set(batch())
        one.close()
    packed = [coding_and_body(request)[0] for request in server.requests]
    assert packed == [False, True, False, False]


def test_a_batch_that_zstd_does_not_make_smaller_goes_plain() -> None:
    noise = {one: os.urandom(40) for one in batch()}
    with scripted(answer(200, FINE, TAKES_ZSTD)) as server:
        one = sink(server.url)
        for _ in range(2):
            one.send(noise)
        one.close()
    assert [coding_and_body(request)[0] for request in server.requests] == [False, False]


def test_a_batch_over_the_receivers_limit_goes_by_halves_of_the_records_and_not_of_the_frame() -> None:
    limit_bytes = 3000

    def strict(connection: object, request: bytes) -> None:
        is_packed, body = coding_and_body(request)
        records = decode_batch(decompress(body, 10**6) if is_packed else body)
        too_large = sum(map(len, records)) > limit_bytes
        fine = json.dumps({"results": ["accepted"] * len(records)}).encode()
        act = answer(413, b"", TAKES_ZSTD) if too_large else answer(200, fine, TAKES_ZSTD)
        act(connection, request)  # type: ignore[arg-type]

    with scripted(strict) as server:
        one, left, tries = sink(server.url), batch(), 0
        while left:
            for done in one.send(left).accepted:
                del left[done]
            tries += 1
        one.close()
    assert tries < 10


# --- the receiver's side


def post(server: Server, body: bytes, coding: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)  # type: ignore[arg-type]
    try:
        connection.request("POST", "/v1/records", body, {"Content-Encoding": coding})
        got = connection.getresponse()
        return got.status, got.read().decode()
    finally:
        connection.close()


def test_a_frame_that_would_become_a_gigabyte_is_refused_in_the_memory_of_one_batch(tmp_path: Path) -> None:
    packer = zstd.ZstdCompressor()
    bomb = b"".join([*(packer.compress(bytes(10**7)) for _ in range(100)), packer.flush()])
    assert len(bomb) < 200_000
    with collector(tmp_path) as server:
        tracemalloc.start()
        status, said = post(server, bomb, "zstd")
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert status == 413
        assert "16000000 bytes at most" in said
        assert most_bytes < 3 * server.max_body_bytes
        assert post(server, encode_batch(list(batch().values())), "identity")[0] == 200


def test_a_frame_that_claims_a_window_of_a_hundred_megabytes_is_refused_unread(tmp_path: Path) -> None:
    claims: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    packer = zstd.ZstdCompressor(options=claims)
    frame = packer.compress(b"\x90") + packer.flush()
    assert zstd.decompress(frame) == b"\x90"
    with collector(tmp_path) as server:
        status, said = post(server, frame, "zstd")
    assert (status, "not a zstd frame" in said) == (400, True)


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b + b"\x90", lambda b: b[5:], lambda b: b""])
def test_what_is_not_one_whole_frame_is_a_400(tmp_path: Path, damage: object) -> None:
    frame = zstd.compress(encode_batch(list(batch().values())))
    with collector(tmp_path) as server:
        status, said = post(server, damage(frame), "zstd")  # type: ignore[operator]
        assert status == 400
        assert "zstd frame" in said
        assert post(server, frame, "ZSTD")[0] == 200
    assert len(stored(tmp_path)) == 50


@pytest.mark.parametrize("coding", ["gzip", "zstd, zstd", "br"])
def test_another_coding_is_a_415_that_says_which_are_taken(tmp_path: Path, coding: str) -> None:
    with collector(tmp_path) as server:
        status, said = post(server, b"x" * 1000, coding)
    assert (status, "plain or as zstd" in said) == (415, True)


def test_the_bound_is_exact() -> None:
    frame = zstd.compress(bytes(1000))
    assert decompress(frame, 1000) == bytes(1000)
    with pytest.raises(TooLong):
        decompress(frame, 999)
