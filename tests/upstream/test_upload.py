"""A large record goes up in pieces: what has arrived is not sent again, whatever breaks off in between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from scripted import answer, scripted

from edgeagent.collector import dataset
from edgeagent.collector.server import Server
from edgeagent.collector.store import Store
from edgeagent.collector.uploads import KEPT, Refused, Uploads
from edgeagent.errors import UpstreamFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import http
from edgeagent.upstream.http import PIECE_BYTES
from edgeagent.upstream.sync import sync_once

UNSYNCED = Wall(0, synced=False)
LARGE = "d/0123456789ab/1"


def record(size_bytes: int) -> bytes:
    body = {"id": LARGE, "kind": "event", "run": "0123456789ab", "boot_id": "b", "mono_ns": 1, "time": None}
    body |= {"clock": "unsynced", "priority": 4, "body": {"text": "x" * size_bytes}, "schema": 1}
    return msgspec.msgpack.encode(body)


@contextmanager
def collector(folder: Path, **options: int) -> Iterator[Server]:
    server = Server(Store(folder), "127.0.0.1", 0, **options)  # type: ignore[arg-type]
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sink(url: str) -> http.Http:
    return http.build("fleet", http.Options(url=url), "d")


def send_all(one: http.Http, payload: bytes) -> int:
    """Send until it is accepted; in how many steps."""
    for step in range(1, 1000):
        result = one.send({LARGE: payload})
        if result.accepted == {LARGE}:
            return step
        assert result.unfinished
    raise AssertionError("it never ends")


def stored(folder: Path) -> list[str]:
    return [entry["id"] for entry in dataset.lines(folder)]


def test_a_large_record_arrives_whole_and_once(tmp_path: Path) -> None:
    payload = record(5 * PIECE_BYTES)
    with collector(tmp_path) as server:
        one = sink(server.url)
        assert send_all(one, payload) == 7, "six pieces, and the word that they are a record"
        assert send_all(one, payload) == 7, "the answer might have been lost: it comes again, and counts once"
        one.close()
    assert stored(tmp_path) == [LARGE]
    assert list((tmp_path / "uploads").iterdir()) == []


def test_after_a_break_the_rest_is_sent_and_not_all(tmp_path: Path) -> None:
    payload = record(5 * PIECE_BYTES)
    with collector(tmp_path) as server:
        first = sink(server.url)
        for _ in range(3):
            assert first.send({LARGE: payload}).unfinished
        first.close()
    with collector(tmp_path) as server:  # both have been started anew since
        again = sink(server.url)
        send_all(again, payload)
        again.close()
    assert again.bytes_sent < len(payload) - 3 * PIECE_BYTES + 200
    assert stored(tmp_path) == [LARGE]


def test_a_record_beyond_what_a_batch_may_be_arrives_in_pieces(tmp_path: Path) -> None:
    payload = record(40 * PIECE_BYTES)
    with collector(tmp_path, max_body_bytes=1_000_000) as server:
        one = sink(server.url)
        send_all(one, payload)
        one.close()
    assert stored(tmp_path) == [LARGE]


def test_events_go_between_the_pieces_of_a_sample(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state", "d", "0123456789ab", "boot", {"fleet": []}, max_bytes=10**9)
    outbox.append([Draft("health", 0, Priority.BULK, {"data": bytes(5 * PIECE_BYTES)})], UNSYNCED)
    with collector(tmp_path / "data") as server:
        one = sink(server.url)
        sync_once("fleet", outbox, one, "boot", UNSYNCED)
        outbox.append([Draft("event", 1, Priority.EVENT, {})], UNSYNCED)
        while sync_once("fleet", outbox, one, "boot", UNSYNCED).sent:
            pass
        one.close()
    outbox.close()
    assert outbox_order(tmp_path / "data") == ["event", "health"]


def outbox_order(folder: Path) -> list[str]:
    return [entry["kind"] for entry in dataset.lines(folder)]


def test_a_receiver_without_uploads_gets_the_record_whole() -> None:
    accepted = answer(200, b'{"results": ["accepted"]}')
    with scripted(answer(404), accepted) as server:
        one = sink(server.url)
        for _ in range(2):
            assert one.send({LARGE: record(3 * PIECE_BYTES)}).accepted == {LARGE}
        one.close()
    assert [request.split(b" ")[0] for request in server.requests] == [b"HEAD", b"POST", b"POST"]


def test_a_receiver_that_finds_it_too_large_has_refused_it() -> None:
    there = b"HTTP/1.1 200 OK\r\nEdgeagent-Offset: 0\r\nContent-Length: 0\r\n\r\n"
    with scripted(lambda line, request: line.sendall(there), answer(413)) as server:
        one = sink(server.url)
        (why,) = one.send({LARGE: record(3 * PIECE_BYTES)}).rejected.values()
        one.close()
    assert why.startswith("too large for the receiver (300")


def test_a_receiver_that_does_not_get_on_is_at_fault_and_is_asked_again() -> None:
    there = b"HTTP/1.1 200 OK\r\nEdgeagent-Offset: 0\r\nContent-Length: 0\r\n\r\n"
    with scripted(lambda line, request: line.sendall(there)) as server:
        one = sink(server.url)
        for _ in range(2):
            with pytest.raises(UpstreamFault, match="of 100000 bytes it says that 0 are there"):
                one.send({LARGE: record(3 * PIECE_BYTES)})
        one.close()
    assert [request.split(b" ")[0] for request in server.requests] == [b"HEAD", b"PUT"] * 2


# --- the receiver's side


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_piece_that_does_not_go_where_the_last_one_ended_is_refused(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads")
    name = name_of(b"abcdef")
    assert uploads.add(name, 0, 6, b"abc") == 3
    for offset, piece in ((0, b"abc"), (4, b"ef"), (3, b"defg")):
        with pytest.raises(Refused) as refused:
            uploads.add(name, offset, 6, piece)
        assert refused.value.offset == 3
    assert uploads.whole(name) is None
    assert uploads.add(name, 3, 6, b"def") == 6
    assert uploads.whole(name) == b"abcdef"


def test_what_has_another_hash_than_it_should_is_thrown_away(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads")
    name = name_of(b"abcdef")
    with pytest.raises(Refused, match="does not have that SHA-256"):
        uploads.add(name, 0, 6, b"abcdeX")
    assert uploads.offset(name) == 0


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "/x", "a" * 64 + "\n"]
)
def test_a_name_that_is_no_hash_is_refused(tmp_path: Path, name: str) -> None:
    uploads = Uploads(tmp_path / "uploads")
    with pytest.raises(ValueError, match="not a SHA-256"):
        uploads.add(name, 0, 3, b"abc")
    assert uploads.whole(name) is None
    assert not (tmp_path / "uploads").exists()


def test_devices_that_never_come_back_leave_a_bounded_number_of_pieces(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    for n in range(KEPT + 20):
        uploads.add(f"{n:064x}", 0, 9, b"abc")
    assert len(list(tmp_path.iterdir())) == KEPT
    assert uploads.offset(f"{KEPT + 19:064x}") == 3
