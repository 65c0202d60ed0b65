from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from received import collector, ids, record, sample

from edgeagent.collector.server import Server
from edgeagent.collector.tokens import Tokens
from edgeagent.errors import StorageFault
from edgeagent.upstream.codec import encode_batch


def post(server: Server, body: bytes, path: str = "/v1/records", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=60)  # type: ignore[arg-type]
    try:
        connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_each_record_of_a_batch_gets_its_own_result(tmp_path: Path) -> None:
    with collector(tmp_path) as server:
        status, answer = post(server, encode_batch([record(1), b"\xc0", sample(2), record(3, kind="poem")]))
    assert status == 200
    words = [result.partition(":")[0] for result in answer["results"]]
    assert words == ["accepted", "rejected", "accepted", "rejected"]
    assert len(ids(tmp_path)) == 2


@pytest.mark.parametrize("body", [b"", b"\xc0", b"hello", b"\x93\x01\x02", b"\x91" * 5000, b"{}"])
def test_what_is_no_batch_is_a_400_with_the_reason(tmp_path: Path, body: bytes) -> None:
    with collector(tmp_path) as server:
        status, answer = post(server, body)
        assert status == 400
        assert "not a batch of records" in answer["error"]
        assert post(server, encode_batch([record(1)]))[0] == 200


def test_a_batch_over_the_limit_is_a_413_that_the_sender_sees_and_the_next_is_served(tmp_path: Path) -> None:
    with collector(tmp_path, max_body_bytes=1000) as server:
        status, answer = post(server, bytes(3_000_000))
        assert status == 413
        assert "1000 bytes" in answer["error"]
        assert post(server, encode_batch([record(1)]))[0] == 200


def test_a_batch_without_its_length_is_a_411(tmp_path: Path) -> None:
    with collector(tmp_path) as server:
        for length in ("", "-5", "many", "9" * 4000):
            with socket.create_connection(server.server_address[:2], timeout=60) as raw:  # type: ignore[arg-type]
                raw.sendall(f"POST /v1/records HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
                raw.shutdown(socket.SHUT_WR)
                assert raw.recv(100).startswith(b"HTTP/1.1 411 ")


def test_only_the_right_token_gets_in(tmp_path: Path) -> None:
    with collector(tmp_path, tokens=Tokens({"*": "sesame"})) as server:
        body = encode_batch([record(1)])
        assert post(server, body)[0] == 401
        assert post(server, body, Authorization="Bearer wrong")[0] == 401
        assert post(server, body, Authorization="Bearer sesam\u00e9")[0] == 401
        assert ids(tmp_path) == []
        assert post(server, body, Authorization="Bearer sesame")[0] == 200


def test_another_address_is_a_404_that_names_the_right_one(tmp_path: Path) -> None:
    with collector(tmp_path) as server:
        assert post(server, b"", "/v1/../etc/passwd") == (404, {"error": "records go to /v1/records"})


def test_a_sender_that_hangs_up_in_mid_batch_leaves_nothing(tmp_path: Path) -> None:
    body = encode_batch([record(1), record(2)])
    with collector(tmp_path) as server:
        with socket.create_connection(server.server_address[:2]) as raw:  # type: ignore[arg-type]
            raw.sendall(b"POST /v1/records HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:-5])
        assert post(server, encode_batch([record(3)]))[0] == 200
        assert len(ids(tmp_path)) == 1


def test_many_devices_at_once_each_get_their_own(tmp_path: Path) -> None:
    with collector(tmp_path) as server, ThreadPoolExecutor(16) as pool:
        batches = [encode_batch([record(n, device=f"d{d}") for n in range(1, 21)]) for d in range(16)] * 2
        answers = list(pool.map(lambda body: post(server, body), batches))
    assert all(answer == (200, {"results": ["accepted"] * 20}) for answer in answers)
    assert len(ids(tmp_path)) == len(set(ids(tmp_path))) == 320


def test_closing_hangs_up_on_who_is_connected(tmp_path: Path) -> None:
    with collector(tmp_path) as server:
        raw = socket.create_connection(server.server_address[:2], timeout=60)  # type: ignore[arg-type]
        raw.sendall(b"POST /v1/records HTTP/1.1\r\n")
        post(server, b"\x90")  # by now the first one is served
    with raw:
        assert raw.recv(10) == b""


def test_a_port_that_is_taken_is_a_fault_that_says_so(tmp_path: Path) -> None:
    with collector(tmp_path / "a") as server:
        port = int(server.server_address[1])
        with pytest.raises(StorageFault, match=f"127.0.0.1:{port}: cannot listen"):
            collector(tmp_path / "b", port=port).__enter__()


_BODIES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    ["id", "kind", "run", "boot_id", "mono_ns", "time", "clock", "priority", "body", "schema", "extra"]
)
_BODY_FIELDS = st.sampled_from(
    ["data", "samples", "encoding", "channels", "rate_hz", "t_start_ns", "t_mono_ns", "more"]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.dictionaries(_FIELDS, _BODIES, max_size=3),
    st.dictionaries(_BODY_FIELDS, _BODIES, max_size=3),
    st.binary(max_size=40),
)
def test_a_fuzzed_batch_gets_a_result_for_each_record_or_a_400(
    fuzzed_server: Server, fields: dict[str, Any], body: dict[str, Any], junk: bytes
) -> None:
    odd_record = msgspec.msgpack.encode(msgspec.msgpack.decode(record(1)) | fields)
    odd_sample = sample(2, **body)
    status, answer = post(fuzzed_server, encode_batch([odd_record, odd_sample]))
    assert status == 200
    assert len(answer["results"]) == 2
    status, answer = post(fuzzed_server, encode_batch([record(3), junk]))
    assert status in (200, 400)
    status, answer = post(fuzzed_server, junk)
    assert status in (200, 400)
    cut = encode_batch([odd_record, odd_sample])[: -1 - len(junk)]
    assert post(fuzzed_server, cut)[0] == 400


@pytest.fixture
def fuzzed_server(tmp_path: Path) -> Any:
    with collector(tmp_path) as server:
        yield server
    assert len(ids(tmp_path)) == len(set(ids(tmp_path)))
