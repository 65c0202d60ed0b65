"""MQTT to nats-server's gateway, JetStream on: what it has acknowledged it has stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import msgspec
import pytest
from mosquitto import PATIENCE_S, Broker, Nats
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.upstream import mqtt

RUN = "0123456789ab"


class Reader:
    """Has a session of its own, in which what it has not fetched yet waits for it."""

    def __init__(self, broker: Broker, expects: int) -> None:
        self.ids: list[str] = []
        self.has_all, self._expects = Event(), expects
        subscribed = Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, "reader", clean_session=False, reconnect_on_failure=False
        )
        self._client.on_message = lambda _client, _data, message: self._note(bytes(message.payload))
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe("edge/+/event", 1)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def _note(self, payload: bytes) -> None:
        record_id = msgspec.json.decode(payload)["id"]
        if record_id not in self.ids:
            self.ids.append(record_id)
        if len(self.ids) == self._expects:
            self.has_all.set()

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Nats]:
    broker = Nats(tmp_path)
    yield broker
    broker.kill()


def test_records_acknowledged_while_nobody_read_outlive_a_kill_of_the_server(broker: Nats) -> None:
    Reader(broker, 0).leave()
    ids = [f"press-07/{RUN}/{seq}" for seq in range(1, 201)]
    batch = {i: msgspec.msgpack.encode({"id": i, "kind": "event", "body": {"x": b"\x00"}}) for i in ids}
    options = mqtt.Options(url=broker.url, version="3.1.1", payload="json", message="record")
    sink = mqtt.build("plant", options, "press-07")
    assert sink.send(batch).accepted == batch.keys()
    broker.kill()
    broker.start()
    reader = Reader(broker, 200)
    assert reader.has_all.wait(60), reader.ids
    assert sorted(reader.ids) == sorted(ids)
    reader.leave()
    sink.close()
