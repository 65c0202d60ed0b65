"""A receiver written from PROTOCOL.md alone: HTTP and MessagePack of libraries, and nothing of edgeagent's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from outboxes import UNSYNCED, bulky, drafts, open_outbox

from edgeagent.errors import UpstreamFault
from edgeagent.records import Priority
from edgeagent.upstream import http
from edgeagent.upstream.sync import sync_once


class Stranger(ThreadingHTTPServer):
    """Keeps records and uploads in memory. It refuses each seventh record, and loses each third answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.answers = self.pieces = 0

    def judge(self, record: dict[str, Any]) -> str:
        if int(record["id"].rpartition("/")[2]) % 7 == 0:
            return "rejected: I do not like sevens"
        self.records[record["id"]] = record
        return "accepted"


class Handler(BaseHTTPRequestHandler):
    server: Stranger
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.path == "/v1/records"
        assert self.headers["Edgeagent-Device"] == "press-07"
        batch = msgspec.msgpack.decode(self.body())
        for at, record in enumerate(batch):
            if "blob" in record:
                whole = self.server.uploads.get(record["blob"], b"")
                if hashlib.sha256(whole).hexdigest() != record["blob"]:
                    return self.answer(409)
                batch[at] = msgspec.msgpack.decode(whole)
        results = [self.server.judge(record) for record in batch]
        return self.answer(200, json.dumps({"results": results}).encode())

    def do_HEAD(self) -> None:
        self.answer(200, offset=len(self.upload))

    def do_PUT(self) -> None:
        found = re.fullmatch(r"bytes (\d+)-\d+/\d+", self.headers["Content-Range"])
        piece = self.body()
        assert found
        if int(found[1]) != len(self.upload):
            return self.answer(409, offset=len(self.upload))
        self.server.uploads[self.path] = self.upload + piece
        self.server.uploads[self.path.removeprefix("/v1/blobs/")] = self.upload
        self.server.pieces += 1
        return self.answer(200, offset=len(self.upload))

    @property
    def upload(self) -> bytes:
        return self.server.uploads.get(self.path, b"")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: bytes = b"", offset: int | None = None) -> None:
        self.server.answers += 1
        if self.server.answers % 3 == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if offset is not None:
            self.send_header("Edgeagent-Offset", str(offset))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger()
    thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_receiver_written_from_the_page_gets_each_record_once_large_ones_in_pieces(
    stranger: Stranger, tmp_path: Path
) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(100, Priority.EVENT), *bulky(3, Priority.BULK, size=700_000)], UNSYNCED)
    sink = http.build("fleet", http.Options(url=f"http://127.0.0.1:{stranger.server_port}"), "press-07")
    while outbox.counters().waiting:
        with suppress(UpstreamFault):
            sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    sink.close()
    counters, sevens = outbox.counters(), 103 // 7
    assert (counters.delivered, counters.rejected) == (103 - sevens, sevens)
    assert {one.reason for one in outbox.quarantined()} == {"I do not like sevens"}
    assert sorted(int(i.rpartition("/")[2]) for i in stranger.records) == [n for n in range(1, 104) if n % 7]
    assert len(stranger.records["press-07/0123456789ab/103"]["body"]["data"]) == 700_000
    assert stranger.pieces == 2 * 8, "the first of them went with the others in one batch"
