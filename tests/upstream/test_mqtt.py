"""The MQTT sink against a real Mosquitto: what arrives, and what a technician reads when nothing does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from mosquitto import PLAIN, Broker, Listener, Mosquitto, ids
from patient import deliver
from relay import Relay
from scripted import CERTIFICATE, CERTIFICATES

from edgeagent.config import parts
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Kind, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import mqtt
from edgeagent.upstream.mqtt import Mqtt, Options
from edgeagent.upstream.sync import sync_once

RUN = "0123456789ab"
PASSWORD = "correct-horse-battery-staple"
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])
UNSYNCED = Wall(0, synced=False)


def batch(count: int, kind: Kind = "event", **body: Any) -> dict[str, bytes]:
    def record(seq: int) -> dict[str, Any]:
        return {"id": f"press-07/{RUN}/{seq}", "kind": kind, "body": {"n": seq} | body}

    return {r["id"]: msgspec.msgpack.encode(r) for r in map(record, range(1, count + 1))}


Make = Callable[..., Mosquitto]


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Make]:
    made: list[Mosquitto] = []

    def make(*lines: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path, *lines))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def broker(brokers: Make) -> Mosquitto:
    return brokers()


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker)
    yield listener
    listener.leave()


@pytest.fixture
def sinks() -> Iterator[Callable[..., Mqtt]]:
    made: list[Mqtt] = []

    def make(broker: Broker | str, device: str = "press-07", **changes: Any) -> Mqtt:
        url = broker if isinstance(broker, str) else broker.url
        made.append(mqtt.build("plant", Options(url=url, **changes), device))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


Sinks = Callable[..., Mqtt]


def trouble(sink: Mqtt) -> str:
    """What a send that must fail says."""
    with pytest.raises(UpstreamFault) as caught:
        sink.send(batch(3))
    return str(caught.value)


# --- what arrives -------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("payload", ["msgpack", "json"])
@pytest.mark.parametrize("message", ["record", "batch"])
def test_every_record_arrives_in_order_under_its_topic(
    broker: Mosquitto, listener: Listener, sinks: Sinks, version: str, payload: str, message: str
) -> None:
    sink = sinks(broker, version=version, payload=payload, message=message)
    events, health = batch(500), {"x": msgspec.msgpack.encode({"id": "x", "kind": "health"})}
    assert sink.send(events | health).accepted == {*events, "x"}
    heard = listener.heard()
    assert ids(heard) == [*events, "x"]
    assert {topic for topic, _ in heard} == {"edge/press-07/event", "edge/press-07/health"}
    assert len(heard) == (501 if message == "record" else 2)
    assert sink.bytes_sent == sum(len(payload) for _, payload in heard)


def test_a_record_goes_as_it_is_and_as_json_with_its_bytes_in_base64(
    broker: Mosquitto, listener: Listener, sinks: Sinks
) -> None:
    records = batch(1, data=b"\x00\xff", label="ä")
    for payload in ("msgpack", "json"):
        sinks(broker, payload=payload).send(records)
    (_, as_it_is), (_, as_json) = listener.heard()
    assert as_it_is == next(iter(records.values()))
    assert msgspec.json.decode(as_json)["body"] == {"n": 1, "data": "AP8=", "label": "ä"}


def test_a_topic_may_leave_the_kind_out(broker: Mosquitto, listener: Listener, sinks: Sinks) -> None:
    records = batch(1) | {"x": msgspec.msgpack.encode({"id": "x", "kind": "health"})}
    sinks(broker, topic="plant/{device.id}", message="batch").send(records)
    assert [topic for topic, _ in listener.heard()] == ["plant/press-07"]


def test_batches_grow_no_longer_than_a_message_may_be(
    broker: Mosquitto, listener: Listener, sinks: Sinks
) -> None:
    records = batch(200, data=bytes(100))
    sink = sinks(broker, message="batch", max_message=1000)
    assert sink.send(records).accepted == set(records)
    lengths = [len(payload) for _, payload in listener.heard()]
    assert max(lengths) <= 1000 < min(lengths[:-1]) + 2 * len(next(iter(records.values())))


@VERSIONS
def test_the_broker_knows_us_again_and_the_connection_is_kept(
    broker: Mosquitto, listener: Listener, sinks: Sinks, version: str
) -> None:
    sink = sinks(broker, version=version)
    for _ in range(3):
        sink.send(batch(2))
        sink.idle()
    log = broker.log.read_text()
    assert log.count("as edgeagent-press-07-plant") == 1
    assert f"(p{'5' if version == '5' else '2'}, c0, k60" in log, "no clean start"
    assert log.count("Received PUBLISH from edgeagent-press-07-plant (d0, q1, r0") == 6


# --- what cannot be sent ------------------------------------------------------------------------------


def test_a_record_longer_than_the_broker_takes_is_refused_and_the_rest_arrives(
    brokers: Make, sinks: Sinks
) -> None:
    broker = brokers(*PLAIN, "max_packet_size 2000")
    listener = Listener(broker)
    long = {"long": msgspec.msgpack.encode({"id": "long", "kind": "event", "body": bytes(3000)})}
    result = sinks(broker).send(long | batch(3))
    assert result.rejected == {"long": f"too large for the broker ({len(long['long'])} bytes)"}
    assert ids(listener.heard()) == sorted(result.accepted) == list(batch(3))
    listener.leave()


@pytest.mark.parametrize("message", ["record", "batch"])
def test_a_record_at_which_an_old_broker_hangs_up_is_refused_after_three_times_and_the_rest_arrives(
    brokers: Make, sinks: Sinks, message: str
) -> None:
    """By MQTT 3.1.1 a broker cannot say what it takes."""
    broker = brokers(*PLAIN, "max_packet_size 1000000")
    listener = Listener(broker)
    sink = sinks(broker, version="3.1.1", message=message)
    waiting = batch(2, data=bytes(700_000)) | {
        "long": msgspec.msgpack.encode({"id": "long", "kind": "event", "body": bytes(2_000_000)})
    }
    sent, refused = set[str](), dict[str, str]()
    for _ in range(20):
        with suppress(UpstreamFault):
            result = sink.send({i: waiting[i] for i in waiting if i not in sent and i not in refused})
            sent |= result.accepted
            refused |= result.rejected
    assert sent == set(batch(2))
    assert refused == {
        "long": f"the broker hangs up at it ({len(waiting['long']) + (message == 'batch')} bytes)"
    }
    assert ids(listener.heard()) == list(batch(2))
    listener.leave()


def test_what_is_no_record_is_refused_and_the_rest_arrives(
    broker: Mosquitto, listener: Listener, sinks: Sinks
) -> None:
    torn = {"torn": msgspec.msgpack.encode({"id": "torn", "kind": "event", "body": "words"})[:-3]}
    odd = {"odd": msgspec.msgpack.encode({"id": "odd", "kind": "../x"})}
    result = sinks(broker, payload="json").send(torn | odd | batch(2))
    assert result.rejected.keys() == {"torn", "odd"}
    assert ids(listener.heard()) == list(batch(2))


def test_what_nobody_would_hear_is_kept_until_somebody_listens(broker: Mosquitto, sinks: Sinks) -> None:
    sink = sinks(broker)
    words = trouble(sink)
    assert "nobody has subscribed to edge/press-07/event" in words
    assert "`unheard: accept`" in words
    listener = Listener(broker, "edge/+/event")
    result = sink.send(batch(2) | {"x": msgspec.msgpack.encode({"id": "x", "kind": "health"})})
    assert result.accepted == set(batch(2))
    assert "edge/press-07/health" in str(result.fault)
    assert ids(listener.heard()) == list(batch(2))
    assert sinks(broker, unheard="accept").send(batch(2)).accepted == set(batch(2))
    listener.leave()


def test_a_topic_that_is_forbidden_keeps_its_records_and_says_so(
    brokers: Make, sinks: Sinks, tmp_path: Path
) -> None:
    (tmp_path / "rights").write_text("topic readwrite edge/+/event\ntopic readwrite the/tests/mark\n")
    broker = brokers(*PLAIN, f"acl_file {tmp_path / 'rights'}")
    listener = Listener(broker)
    health = {"x": msgspec.msgpack.encode({"id": "x", "kind": "health"})}
    result = sinks(broker).send(batch(2) | health)
    assert result.accepted == set(batch(2))
    assert not result.rejected
    assert "takes nothing for edge/press-07/health (Not authorized)" in str(result.fault)
    listener.leave()


# --- a broker that is away, refuses, hangs, dies ------------------------------------------------------


@VERSIONS
def test_a_wrong_password_is_told_and_a_right_one_works(
    brokers: Make, sinks: Sinks, tmp_path: Path, version: str
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "press", PASSWORD], check=True)
    passwords.chmod(0o644)
    broker = brokers("allow_anonymous false", f"password_file {passwords}")
    wrongs: tuple[dict[str, Any], ...] = ({}, {"username": "press", "password": Secret("clear", "wrong")})
    for wrong in wrongs:
        words = trouble(sinks(broker, version=version, **wrong))
        assert "refuses the connection (Not authorized). Check `username` and `password`" in words
    right: dict[str, Any] = {"username": "press", "password": Secret("clear", PASSWORD), "unheard": "accept"}
    sink = sinks(broker, version=version, **right)
    assert sink.send(batch(3)).accepted == set(batch(3))
    assert PASSWORD not in repr(sink) + repr(Options(url=broker.url, **right)) + broker.log.read_text()


def test_a_dead_broker_is_told_and_idling_notices_it_too(broker: Mosquitto, sinks: Sinks) -> None:
    sink = sinks(broker)
    sink.idle()
    broker.kill()
    for _ in range(2):
        with pytest.raises(UpstreamFault) as caught:
            sink.idle()
    assert "no connection (Connection refused). Check the network" in str(caught.value)
    broker.start()
    sink.idle()


def test_a_broker_that_hangs_is_given_up_after_the_timeout(broker: Mosquitto, sinks: Sinks) -> None:
    sink = sinks(broker, timeout=0.2, unheard="accept")
    deliver(sink, batch(1))
    broker.signal(signal.SIGSTOP)
    assert "no answer within 0.2 s" in trouble(sink)
    assert "no answer within 0.2 s" in trouble(sink), "also when it accepts the connection and greets nobody"
    broker.signal(signal.SIGCONT)
    assert deliver(sink, batch(3)) == set(batch(3))


def test_a_connection_that_is_only_half_open_is_given_up_and_begun_anew(
    broker: Mosquitto, listener: Listener, sinks: Sinks
) -> None:
    """As when a router has forgotten it: it stands, and nothing comes through."""
    way = Relay(broker.port)
    sink = sinks(f"mqtt://127.0.0.1:{way.port}", timeout=2)
    deliver(sink, batch(1))
    way.asks.clear()
    assert "no answer within 2.0 s" in trouble(sink)
    way.refuse()
    way.admit()
    way.asks.set()
    assert deliver(sink, batch(3)) == set(batch(3))
    assert ids(listener.heard()) == list(batch(3))
    way.refuse()


def test_a_name_that_is_not_known_is_told(sinks: Sinks) -> None:
    assert "the name is not known" in trouble(sinks("mqtt://broker.invalid"))


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"", "before the broker greeted us. Is this the right port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "before the broker greeted us. Is this the right port"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x8e", "(Session taken over). Another client came with our name"),
        (b"\x20\x02\x00\x01", "(Unsupported protocol version). Write `version: 3.1.1`"),
    ],
)
def test_what_is_no_broker_or_an_old_one_is_told(sinks: Sinks, greeting: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            line, _ = listener.accept()
            line.recv(1000)
            line.sendall(greeting)
            line.close()

        thread = Thread(target=answer)
        thread.start()
        said = trouble(sinks(f"mqtt://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
    assert words in said


def test_two_devices_of_one_name_take_turns_and_are_told(
    broker: Mosquitto, listener: Listener, sinks: Sinks
) -> None:
    first, second = sinks(broker), sinks(broker)
    first.send(batch(1))
    second.send(batch(1))
    assert "do two devices have one `device.id`?" in trouble(first)


@pytest.mark.parametrize("message", ["record", "batch"])
def test_no_record_is_lost_when_the_broker_is_killed_in_mid_batch_again_and_again(
    broker: Mosquitto, listener: Listener, sinks: Sinks, tmp_path: Path, message: str
) -> None:
    """What it acknowledged had gone to the reader's socket; what it did not comes again."""
    folder = tmp_path / "outbox"
    outbox = Outbox(folder, "press-07", RUN, "boot", {"plant": frozenset()}, max_bytes=10**9)
    outbox.append([Draft("event", n, Priority.EVENT, {"n": n}) for n in range(3000)], UNSYNCED)
    sink, over, kills = sinks(broker, message=message), Event(), []

    def kill() -> None:
        while not over.wait(0.05):
            seen = len(listener.messages)
            broker.kill()
            listener.outlive()
            broker.start()
            listener.join()
            kills.append(seen)

    killer = Thread(target=kill)
    killer.start()
    while outbox.counters().waiting or len(kills) < 5:
        if not outbox.counters().waiting:
            outbox.append([Draft("event", 0, Priority.EVENT, {})] * 1000, UNSYNCED)
        try:
            sync_once("plant", outbox, sink, "boot", UNSYNCED)
        except UpstreamFault:
            over.wait(0.005)
    over.set()
    killer.join()
    heard = ids(listener.heard())
    assert sorted(heard) == sorted(f"press-07/{RUN}/{n}" for n in range(1, outbox.counters().made + 1))
    print(f"{len(kills)} kills, {len(heard)} records, {len(listener.messages)} messages")
    outbox.close()


# --- presence -----------------------------------------------------------------------------------------


@VERSIONS
def test_presence_says_online_offline_when_closed_and_offline_by_will_when_cut(
    broker: Mosquitto, listener: Listener, sinks: Sinks, version: str
) -> None:
    def presence() -> list[bytes]:
        return [payload for topic, payload in listener.heard() if topic == "edge/press-07/presence"]

    options = {"presence": "edge/{device.id}/presence", "version": version}
    sink = sinks(broker, **options)
    sink.send(batch(150))
    assert presence() == [b"online"]
    assert "Will message specified (7 bytes) (r1, q1)" in broker.log.read_text()
    sink.close()
    late = Listener(broker)
    assert late.heard() == [("edge/press-07/presence", b"offline")], "retained"
    late.leave()
    if (
        version == "3.1.1"
    ):  # by MQTT 5 the will waits, so that a connection that is back at once was never gone
        cut = sinks(broker, **options)
        cut.idle()
        assert cut._connection is not None
        cut._connection._hang_up()
        while presence()[-1:] != [b"offline"] or len(presence()) < 4:
            Event().wait(0.01)
    assert len(ids([m for m in listener.heard() if "presence" not in m[0]])) == 150


# --- TLS ----------------------------------------------------------------------------------------------


TLS = (*PLAIN, f"cafile {CERTIFICATE}", f"certfile {CERTIFICATE}", f"keyfile {CERTIFICATE}")


def test_tls_is_trusted_with_the_right_certificate_only(brokers: Make, sinks: Sinks) -> None:
    broker = brokers(*TLS)
    url = broker.url.replace("mqtt:", "mqtts:")
    assert "TLS fails (" in trouble(sinks(url))
    assert sinks(url, ca=CERTIFICATE, unheard="accept").send(batch(500)).accepted == set(batch(500))


def test_a_broker_that_wants_our_certificate_gets_it(brokers: Make, sinks: Sinks) -> None:
    broker = brokers(*TLS, "require_certificate true")
    url = broker.url.replace("mqtt:", "mqtts:")
    assert url in trouble(sinks(url, ca=CERTIFICATE))
    ours = {"certificate": CERTIFICATE, "key": CERTIFICATE}
    assert sinks(url, ca=CERTIFICATE, unheard="accept", **ours).send(batch(3)).accepted == set(batch(3))


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired", "TLS fails (certificate has expired). Check the device's clock first"),
        ("not-yet-valid", "TLS fails (certificate is not yet valid). Check the device's clock first"),
        ("other-host", "certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_certificate_that_does_not_hold_says_why(
    brokers: Make, sinks: Sinks, certificate: str, words: str
) -> None:
    pem = CERTIFICATES / f"{certificate}.pem"
    broker = brokers(*PLAIN, f"certfile {pem}", f"keyfile {pem}")
    url = broker.url.replace("mqtt:", "mqtts:")
    assert words in trouble(sinks(url, ca=CERTIFICATES / "authority.pem"))


# --- the config ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "broker.example.com"}, "not a broker's URL"),
        ({"url": "http://x"}, "not a broker's URL"),
        ({"url": "mqtt://x:port"}, "not a broker's URL"),
        ({"url": "mqtt://me:secret@x"}, "more than a broker's address"),
        ({"topic": "edge/{device}/x"}, "{device} is not known here"),
        ({"topic": "edge/{device.id"}, "a brace that is not one of a pair"),
        ({"topic": "edge/+/x"}, "not a topic to publish to"),
        ({"topic": ""}, "not a topic to publish to"),
        ({"presence": "edge/{kind}"}, "{kind} is not known here"),
        ({"password": Secret("clear", PASSWORD)}, "a password without a name"),
        ({"certificate": Path("a.pem")}, "one without the other"),
    ],
)
def test_options_that_cannot_be_used_are_config_faults(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        Options(**{"url": "mqtts://broker.example.com", **options})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("device", ["a/b", "a+b", "#"])
def test_a_device_id_that_would_change_the_topic_is_a_config_fault(device: str) -> None:
    with pytest.raises(ConfigFault, match="cannot stand in a topic"):
        mqtt.build("plant", Options(url="mqtt://x"), device)


def test_certificates_that_are_none_are_config_faults(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    both: tuple[dict[str, Any], ...] = (
        {"ca": tmp_path / "x.pem"},
        dict.fromkeys(("certificate", "key"), tmp_path / "x.pem"),
    )
    for keys in both:
        with pytest.raises(ConfigFault, match="in PEM"):
            mqtt.build("plant", Options(url="mqtts://x", **keys), "press-07")


def test_without_paho_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("edgeagent.upstream.mqtt", "edgeagent.upstream.broker"):
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(ConfigFault, match=r"pip install 'edgeagent\[mqtt\]'"):
        parts.find("upstream", "mqtt")


def test_clear_text_beyond_this_machine_and_a_version_that_hides_losses_earn_a_warning() -> None:
    login: dict[str, Any] = {"username": "u", "password": Secret("env", "P")}
    (clear,) = mqtt.advise(Options(url="mqtt://10.0.0.5", **login))
    assert "the password and all records in clear" in clear.text
    (old,) = mqtt.advise(Options(url="mqtts://10.0.0.5", version="3.1.1"))
    assert "thrown a record away" in old.text
    for fine in ("mqtts://broker.example.com", "mqtt://127.0.0.1", "mqtt://localhost:1884"):
        assert list(mqtt.advise(Options(url=fine, **login))) == []
