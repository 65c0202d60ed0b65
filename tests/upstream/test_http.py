from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from scripted import CERTIFICATE, CERTIFICATES, Act, answer, cut, hang, scripted

from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.upstream import Result, http
from edgeagent.upstream.http import Http, Options

BATCH = {"a": b"\xa1a", "b": b"\xa1b", "c": b"\xa1c"}
FINE = answer(200, json.dumps({"results": ["accepted"] * 3}).encode())
TOKEN = "correct-horse-battery-staple"


def sink(url: str, **changes: Any) -> Http:
    return http.build("fleet", Options(url=url, **changes), "press 07/ä")


def trouble(url: str, **changes: Any) -> str:
    """What a send that must fail says."""
    with pytest.raises(UpstreamFault) as caught:
        sink(url, **changes).send(BATCH)
    assert url in str(caught.value)
    return str(caught.value)


def test_a_batch_is_posted_with_the_token_and_the_device(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    with scripted(FINE) as server:
        one = sink(server.url + "/base/", token=Secret("file", str(tmp_path / "token")))
        assert one.send(BATCH).accepted == set(BATCH)
        one.close()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /base/v1/records http/1.1"
    assert f"authorization: bearer {TOKEN}" in lines
    assert "edgeagent-device: press%2007%2f%c3%a4" in lines
    assert "content-type: application/msgpack" in lines
    assert body == msgspec.msgpack.encode(["a", "b", "c"])
    assert one.bytes_sent == len(body)


def test_connections_are_kept_between_batches() -> None:
    connections = set()

    def note(connection: Any, request: bytes) -> None:
        connections.add(connection.getpeername())
        FINE(connection, request)

    with scripted(note) as server:
        one = sink(server.url)
        for _ in range(3):
            one.send(BATCH)
        one.close()
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "cannot read our batch"),
        (401, "does not accept the token (401: no such device). Check `token`"),
        (403, "does not let this device in"),
        (404, "no receiver at this address"),
        (429, "overloaded"),
        (500, "it fails (500: no such device). It is tried again"),
        (503, "it fails (503"),
        (418, "it refuses (418"),
    ],
)
def test_a_refusal_says_what_to_do_and_keeps_all(status: int, words: str) -> None:
    with scripted(answer(status, b"no such device")) as server:
        assert words in trouble(server.url)


@pytest.mark.parametrize(
    ("headers", "asked_s"),
    [
        (["Retry-After: 120"], 120),
        (
            [
                "Retry-After: Sun, 22 Nov 2026 10:02:00 GMT",
                "Date: Sun, 22 Nov 2026 10:00:30 GMT",
            ],
            90,
        ),
        (["Retry-After: 999999999"], 6 * 3600),
        (["Retry-After: soon"], 0),
        ([], 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_a_receiver_asks_to_be_left_alone_is_understood(
    status: int, headers: list[str], asked_s: float
) -> None:
    with scripted(answer(status, b"", *headers)) as server, pytest.raises(UpstreamFault) as caught:
        sink(server.url).send(BATCH)
    assert caught.value.retry_after_s == asked_s


@pytest.mark.parametrize(
    ("status", "may_be"),
    [(400, True), (422, True), (500, True), (401, False), (429, False), (503, False), (507, False)],
)
def test_only_an_answer_that_may_be_about_a_record_makes_one_suspect(status: int, *, may_be: bool) -> None:
    with scripted(answer(status)) as server, pytest.raises(UpstreamFault) as caught:
        sink(server.url).send(BATCH)
    assert caught.value.may_be_a_record == may_be


def test_a_redirect_is_not_followed_and_names_the_new_address() -> None:
    with scripted(FINE) as elsewhere, scripted(answer(307, b"", f"Location: {elsewhere.url}/x")) as server:
        words = trouble(server.url, token=Secret("clear", TOKEN))
        assert f"redirects to {elsewhere.url}/x (307)" in words
        assert "Put the final address into `url`" in words
        assert elsewhere.requests == []


def test_a_receiver_that_hangs_is_given_up_after_the_timeout() -> None:
    over = Event()
    with scripted(hang(over)) as server:
        assert "no answer within 0.2 s" in trouble(server.url, timeout=0.2)
        over.set()


def test_a_refused_connection_says_so() -> None:
    with scripted(FINE) as server:
        pass
    assert "no connection" in trouble(server.url)


def test_a_name_that_is_not_known_is_told() -> None:
    assert "the name is not known. Check the network and its DNS server" in trouble("http://fleet.invalid")


@pytest.mark.parametrize("act", [cut, answer(200, b'{"results": ["acc', length=100)])
def test_a_connection_cut_before_or_in_the_answer_keeps_all(act: Callable[..., None]) -> None:
    with scripted(act) as server:
        assert "the connection was cut" in trouble(server.url)


def test_a_connection_that_idled_out_is_opened_again() -> None:
    with scripted(FINE, cut, FINE) as server:
        one = sink(server.url)
        one.send(BATCH)
        with pytest.raises(UpstreamFault):
            one.send(BATCH)
        assert one.send(BATCH).accepted == set(BATCH)
        one.close()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b'{"results": ["accepted"]}', b"x" * 5_000_000])
def test_a_200_that_is_no_answer_of_ours_keeps_all(body: bytes) -> None:
    with scripted(answer(200, body)) as server:
        assert "not one of an edgeagent receiver" in trouble(server.url)


@pytest.mark.parametrize("there", [answer(200, b'{"results": []}'), answer(400, b"nothing in it")])
def test_a_probe_is_an_empty_batch_and_a_receiver_that_finds_nothing_in_it_is_there(there: Act) -> None:
    with scripted(there) as server:
        one = sink(server.url)
        assert one.send({}) == Result()
        one.close()
    assert server.requests[0].partition(b"\r\n\r\n")[2] == b"\x90"
    assert one.bytes_sent == 1


@pytest.mark.parametrize(
    "away",
    [answer(401), answer(404), answer(413), answer(429), answer(503), answer(200, b"<html>Log in</html>")],
)
def test_a_probe_that_is_not_let_in_or_answered_by_another_is_a_fault(away: Act) -> None:
    with scripted(away) as server:
        one = sink(server.url)
        with pytest.raises(UpstreamFault):
            one.send({})
        one.close()
    assert len(server.requests) == 1


def test_a_batch_too_large_for_the_receiver_is_sent_by_halves_and_remembered() -> None:
    half = answer(200, b'{"results": ["accepted"]}')
    with scripted(answer(413), half) as server:
        one = sink(server.url)
        assert one.send(BATCH).accepted == {"a"}
        assert one.send(BATCH).accepted == {"a"}
        one.close()
    assert len(server.requests) == 3
    assert one.bytes_sent == sum(len(r.partition(b"\r\n\r\n")[2]) for r in server.requests)


def test_one_record_too_large_for_the_receiver_is_refused() -> None:
    with scripted(answer(413)) as server:
        result = sink(server.url).send(BATCH)
    assert result.accepted == set()
    assert result.rejected == {"a": "too large for the receiver (3 bytes)"}


def test_tls_is_trusted_with_the_right_certificate_only() -> None:
    with scripted(FINE, tls=CERTIFICATE) as server:
        assert "TLS fails" in trouble(server.url)
        assert server.requests == []
        one = sink(server.url, ca=CERTIFICATE)
        assert one.send(BATCH).accepted == set(BATCH)
        one.close()


def test_a_certificate_of_the_systems_folder_is_read_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca-certificates.crt").touch()  # the file of all of them: read, it would vouch for nobody
    shutil.copy(CERTIFICATES / "authority.pem", tmp_path / "991f2c38.0")  # openssl x509 -hash
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with scripted(FINE, tls=CERTIFICATES / "good.pem") as server:
        one = sink(server.url)
        assert one.send(BATCH).accepted == set(BATCH)
        one.close()
        (tmp_path / "991f2c38.0").unlink()
        assert "TLS fails" in trouble(server.url)


def test_a_file_of_certificates_in_the_environment_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    with scripted(FINE, tls=CERTIFICATES / "good.pem") as server:
        one = sink(server.url)
        assert one.send(BATCH).accepted == set(BATCH)
        one.close()


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired", "TLS fails (certificate has expired). Check the device's clock first"),
        ("not-yet-valid", "TLS fails (certificate is not yet valid). Check the device's clock first"),
        ("other-host", "certificate is not valid for '127.0.0.1'). Check `url`, `ca`"),
    ],
)
def test_a_certificate_that_does_not_hold_says_why(certificate: str, words: str) -> None:
    with scripted(FINE, tls=CERTIFICATES / f"{certificate}.pem") as server:
        assert words in trouble(server.url, ca=CERTIFICATES / "authority.pem")
        assert server.requests == []


def test_the_token_is_in_no_fault_and_no_repr() -> None:
    with scripted(answer(401, b"bad token")) as server:
        one = sink(server.url, token=Secret("clear", TOKEN))
        with pytest.raises(UpstreamFault) as caught:
            one.send(BATCH)
        one.close()
    assert TOKEN not in str(caught.value) + repr(caught.value) + repr(one)
    assert TOKEN not in repr(Options(url=server.url, token=Secret("clear", TOKEN)))


@pytest.mark.parametrize("token", ["two\nlines", "schlüssel"])
def test_a_token_that_fits_into_no_header_is_told_before_anything_is_sent_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigFault, match="a secret in clear: the secret is not") as caught:
        sink("http://127.0.0.1:1", token=Secret("clear", token))
    assert token not in str(caught.value)


def test_a_receiver_that_quotes_the_token_is_not_quoted() -> None:
    quoting = f"who is {TOKEN}?".encode()
    refused = json.dumps({"results": ["accepted", "accepted", f"rejected: not from {TOKEN}"]}).encode()
    for act in (answer(401, quoting), answer(307, b"", f"Location: /login?{TOKEN}"), answer(200, quoting)):
        with scripted(act) as server:
            assert TOKEN not in trouble(server.url, token=Secret("clear", TOKEN))
    with scripted(answer(200, refused)) as server:
        one = sink(server.url, token=Secret("clear", TOKEN))
        assert one.send(BATCH).rejected == {"c": "not from (the token)"}
        one.close()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "fleet.example.com",
            "ftp://x",
            "https://",
            "https://me:secret@x",
            "https://x/?a=1",
            "htps://me:secret@x",
        ),
        *("https://x:99999", "https://x:0", "https://x:secret", "https://[::1", "https://x y", "https://x\n"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_config_fault(url: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        Options(url=url)
    assert "secret" not in str(caught.value)


def test_clear_text_beyond_this_machine_earns_a_warning() -> None:
    token = Secret("env", "T")
    assert (
        "the token and all records"
        in next(iter(http.advise(Options(url="http://10.0.0.5", token=token)))).text
    )
    assert len(list(http.advise(Options(url="http://fleet.example.com")))) == 1
    for fine in (
        "https://fleet.example.com",
        "http://127.0.0.1:8377",
        "http://[::1]:8377",
        "http://localhost",
    ):
        assert list(http.advise(Options(url=fine, token=token))) == []


def test_a_file_of_certificates_that_is_none_is_a_config_fault(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for ca in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigFault, match="certificates in PEM"):
            sink("https://fleet.example.com", ca=ca)
