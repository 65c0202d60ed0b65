"""Who may send, and as whom: by token and by certificate."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import pytest
from received import CollectorProcess, collector, ids, record, sample

from edgeagent.cli import FAULTS, USAGE, main
from edgeagent.collector.tokens import ANYONE, Tokens, both, read_tokens, speaks_for
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.upstream.http import Http, Options

CERTIFICATES = Path(__file__).parent / "certificates"
SERVER = Path(__file__).parents[1] / "upstream" / "loopback.pem"
TOKENS = Tokens({"press-07": "sesame", "press-08": "poppy", "old-08": "poppy"})
BATCH = {"a": record(1), "b": record(1, device="press-08"), "c": record(1, device="old-08")}


def sink(url: str, device: str, token: str = "", certificate: str = "") -> Http:
    file = CERTIFICATES / f"{certificate}.pem" if certificate else None
    secret = Secret("clear", token) if token else None
    ca = SERVER if url.startswith("https") else None
    return Http(Options(url=url, token=secret, ca=ca, certificate=file, key=file, timeout=30.0), device)


def mutual_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SERVER)
    for name in ("press-07", "press-08"):
        context.load_verify_locations(CERTIFICATES / f"{name}.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_device_that_claims_anothers_id_is_not_let_in_and_keeps_its_records(tmp_path: Path) -> None:
    with collector(tmp_path, tokens=TOKENS) as server:
        liar = sink(server.url, "press-07", "poppy")
        with pytest.raises(UpstreamFault, match=r"does not let this device in \(403") as caught:
            liar.send(BATCH)
        liar.close()
    assert "poppy" not in str(caught.value)
    assert ids(tmp_path) == []


def test_a_record_under_anothers_id_is_refused_and_the_devices_own_are_stored(tmp_path: Path) -> None:
    with collector(tmp_path, tokens=TOKENS) as server:
        one = sink(server.url, "press-08", "poppy")
        result = one.send(BATCH)
        one.close()
    assert result.accepted == {"b", "c"}  # the token has been given to the device under its old id too
    assert result.rejected == {"a": "'press-07' is not the device that sends it"}
    assert ids(tmp_path) == [f"{name}/0123456789ab/1" for name in ("press-08", "old-08")]


def test_an_upload_under_anothers_id_is_refused(tmp_path: Path) -> None:
    large = sample(2, extra=bytes(300_000))
    with collector(tmp_path, tokens=TOKENS) as server:
        one = sink(server.url, "press-08", "poppy")
        while (result := one.send({"x": large})).unfinished:
            pass
        one.close()
    assert result.rejected == {"x": "'press-07' is not the device that sends it"}


def test_a_wrong_token_is_told_from_a_right_one_for_another_device(tmp_path: Path) -> None:
    with collector(tmp_path, tokens=TOKENS) as server:
        for token in ("", "sesam", "sesame.", "*"):
            stranger = sink(server.url, "press-07", token)
            with pytest.raises(UpstreamFault, match=r"does not accept the token \(401"):
                stranger.send(BATCH)
            stranger.close()


def test_a_certificate_names_its_device(tmp_path: Path) -> None:
    with collector(tmp_path, tls=mutual_tls()) as server:
        assert server.url.startswith("https://")
        one = sink(server.url, "press-07", certificate="press-07")
        assert one.send(BATCH).accepted == {"a"}
        liar = sink(server.url, "press-07", certificate="press-08")
        with pytest.raises(UpstreamFault, match="another device's"):
            liar.send(BATCH)
        nobody = sink(server.url, "press-07")
        with pytest.raises(UpstreamFault):
            nobody.send(BATCH)
        for each in (one, liar, nobody):
            each.close()
    assert len(ids(tmp_path)) == 1


def test_the_command_speaks_https_and_asks_for_certificates(tmp_path: Path) -> None:
    options = ["--certificate", str(SERVER), "--client-ca", str(CERTIFICATES / "press-07.pem")]
    process = CollectorProcess(tmp_path, 0, *options)
    one = sink(process.url, "press-07", certificate="press-07")
    assert one.send(BATCH).accepted == {"a"}
    unknown = sink(process.url, "press-08", certificate="press-08")
    with pytest.raises(UpstreamFault):
        unknown.send(BATCH)
    for each in (one, unknown):
        each.close()
    assert process.end(signal.SIGTERM) == 0


def test_with_token_and_certificate_both_must_be_the_devices(tmp_path: Path) -> None:
    with collector(tmp_path, tls=mutual_tls(), tokens=TOKENS) as server:
        stolen = sink(server.url, "press-08", "poppy", certificate="press-07")
        with pytest.raises(UpstreamFault, match="403"):
            stolen.send(BATCH)
        stolen.close()
        one = sink(server.url, "press-08", "poppy", certificate="press-08")
        assert one.send(BATCH).accepted == {"b"}
        one.close()


def test_one_who_does_not_shake_hands_holds_up_nobody(tmp_path: Path) -> None:
    with collector(tmp_path, tls=mutual_tls()) as server:
        silent = socket.create_connection(server.server_address[:2])  # type: ignore[arg-type]
        one = sink(server.url, "press-07", certificate="press-07")
        assert one.send(BATCH).accepted == {"a"}
        one.close()
    silent.close()


def test_anyone_and_both() -> None:
    assert speaks_for(ANYONE, "x")
    assert both(ANYONE, frozenset("x")) == both(frozenset("x"), ANYONE) == frozenset("x")
    assert both(frozenset("x"), frozenset("y")) == frozenset()


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("sesame\n", ANYONE),
        ("# the presses\npress-07 sesame\n\npress-08 poppy\n", {"press-07"}),
        ("* sesame\npress-08 poppy", ANYONE),
    ],
)
def test_a_file_of_tokens_has_one_for_all_or_one_a_device(
    tmp_path: Path, text: str, devices: frozenset[str]
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    assert read_tokens(file).devices("sesame") == devices
    assert not read_tokens(file).devices("poppies")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("press-07 sesame\npress-08\n", "tokens:2: not a device's token"),
        ("press-07 my secret\n", "tokens:1: not a device's token"),
        ("press-07 sesame\npress-07 poppy", "tokens:2: a second token for press-07"),
    ],
)
def test_a_file_of_tokens_that_is_none_is_named_and_not_shown(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(ConfigFault) as caught:
        read_tokens(file)
    assert words in str(caught.value)
    assert not any(word in str(caught.value) for word in ("sesame", "poppy", "secret"))


def test_certificates_that_are_none_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.pem").write_text("odd")
    options = ["--data", str(tmp_path / "data"), "--certificate", str(tmp_path / "odd.pem")]
    assert main(["collector", *options]) == FAULTS
    assert "odd.pem" in capsys.readouterr().err
    assert main(["collector", "--data", str(tmp_path), "--client-ca", str(SERVER)]) == USAGE
    assert "need --certificate" in capsys.readouterr().err


def test_a_certificate_without_its_key_or_that_is_none_is_a_config_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="`certificate` and `key`, or neither"):
        Options(url="https://127.0.0.1:1", certificate=SERVER)
    odd = tmp_path / "odd.pem"
    odd.write_text("odd")
    with pytest.raises(ConfigFault, match=r"odd\.pem.*a certificate and its key in PEM"):
        Http(Options(url="https://127.0.0.1:1", certificate=odd, key=odd), "press-07")
