"""A simulated fleet through the engines of docs/scaling.md: real brokers and a real object store, each device with a
connection of its own; counted at the far end. Fleet, engine and reader share this machine.

Every tenth batch is sent again by a new sink, as by an agent that was killed before it had the answer.
"""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Protocol

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bench.figure import Figure
from edgeagent.collector.loadtest import Plan, Report, at_once, names
from edgeagent.config.secrets import Secret
from edgeagent.errors import UpstreamFault
from edgeagent.records import Priority, Record
from edgeagent.upstream import Sink, mqtt, s3
from edgeagent.upstream.broker import Version

sys.path.append(str(Path(__file__).parents[1] / "devices"))
from mosquitto import PLAIN, Broker, Mosquitto, Nats
from stores import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectStore, Seaweed, records

PLANS = (
    Plan(devices=200, batches=6, records=20, every_s=5.0),
    Plan(devices=200, batches=6, records=20, every_s=0.0),
)
_AGAIN = 10
_PATIENCE_S = 120.0
_BODY = {"pipeline": "motion", "label": "running", "score": 0.8, "scores": [0.1, 0.8, 0.1]}
_encode = msgspec.msgpack.Encoder().encode


class Engine(Protocol):
    """What stands between a fleet and whoever reads."""

    def sink(self, device: str) -> Sink: ...

    def arrived(self, expected: int) -> Counter[str]:
        """How often each id has come, once as many as expected have, or patience is at its end."""
        ...

    def close(self) -> None: ...


class ThroughBroker:
    """And a reader with a session of its own."""

    def __init__(self, broker: Broker, version: Version) -> None:
        self._broker, self._version = broker, version
        self._came, self._ready = Counter[str](), Event()
        self._reader = Client(CallbackAPIVersion.VERSION2, "ingest", clean_session=False)
        self._reader.on_message = lambda _client, _data, message: self._note(bytes(message.payload))
        self._reader.on_subscribe = lambda *_: self._ready.set()
        self._reader.connect("127.0.0.1", broker.port)
        self._reader.subscribe("edge/#", 1)
        self._reader.loop_start()
        assert self._ready.wait(_PATIENCE_S)

    def _note(self, payload: bytes) -> None:
        self._came.update(record["id"] for record in msgspec.msgpack.decode(payload))

    def sink(self, device: str) -> Sink:
        options = mqtt.Options(url=self._broker.url, version=self._version, message="batch")
        return mqtt.build("plant", options, device)

    def arrived(self, expected: int) -> Counter[str]:
        give_up_s = time.monotonic() + _PATIENCE_S
        while len(self._came) < expected and time.monotonic() < give_up_s:
            time.sleep(0.05)
        return Counter(dict.fromkeys(self._came, 1))  # a reader of MQTT counts an id once

    def close(self) -> None:
        self._reader.disconnect()
        self._reader.loop_stop()
        self._broker.kill()


class ThroughStore:
    """And a lister."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def sink(self, device: str) -> Sink:
        keys = Secret("clear", ACCESS_KEY), Secret("clear", SECRET_KEY)
        options = s3.Options(bucket=BUCKET, endpoint=self._store.url, access_key=keys[0], secret_key=keys[1])
        return s3.build("lake", options, device)

    def arrived(self, expected: int) -> Counter[str]:
        del expected
        return Counter(record["id"] for record in records(self._store.objects()))

    def close(self) -> None:
        self._store.kill()


ENGINES: dict[str, Callable[[Path], Engine]] = {
    "Mosquitto": lambda folder: ThroughBroker(Mosquitto(folder, *PLAIN), "5"),
    "NATS JetStream": lambda folder: ThroughBroker(Nats(folder), "3.1.1"),
    "SeaweedFS": lambda folder: ThroughStore(Seaweed(folder)),
}


def measure() -> Iterator[Figure]:
    for name, start in ENGINES.items():
        for plan in PLANS:
            with TemporaryDirectory() as folder:
                engine = start(Path(folder))
                try:
                    yield _figure(name, plan, run(engine, plan))
                finally:
                    engine.close()


def _figure(name: str, plan: Plan, found: Report) -> Figure:
    pace = f"every {plan.every_s:g} s" if plan.every_s else "without a pause"
    p50_ms, p99_ms = (1000 * found.percentile_s(share) for share in (0.5, 0.99))
    return Figure(
        f"{plan.devices} devices into {name}, {pace}",
        f"{plan.total / found.seconds:,.0f} /s",
        f"{p50_ms:.0f}, {p99_ms:,.0f} ms",
        f"{found.lost}, {found.doubled}",
        "0 lost, doubled",
        not found.lost and not found.doubled,
    )


def run(engine: Engine, plan: Plan) -> Report:
    """Send a fleet's records through it, and count at its far end."""
    fleet = [_Device(name, engine, plan) for name in names(plan.devices)]
    seconds = at_once([device.run for device in fleet])
    sent = {record_id for device in fleet for record_id in device.ids}
    came = engine.arrived(len(sent))
    answers_s = sorted(answer for device in fleet for answer in device.answers_s)
    repeated = sum(device.repeated for device in fleet)
    return Report(seconds, answers_s, repeated, len(sent - came.keys()), came.total() - len(came))


class _Device:
    """One of the fleet. `run` is the body of its thread."""

    def __init__(self, name: str, engine: Engine, plan: Plan) -> None:
        self._name, self._engine, self._plan = name, engine, plan
        self._run, self._sink = secrets.token_hex(6), engine.sink(name)
        self.answers_s: list[float] = []
        self.repeated = 0
        self.ids: list[str] = []

    def run(self) -> None:
        start_s = time.monotonic() + random.uniform(0.0, self._plan.every_s)
        for number in range(self._plan.batches):
            time.sleep(max(start_s + number * self._plan.every_s - time.monotonic(), 0.0))
            batch = self._batch()
            self._deliver(batch)
            if number % _AGAIN == _AGAIN // 2:
                self._sink.close()
                self._sink = self._engine.sink(self._name)
                self._deliver(batch)
        self._sink.close()

    def _batch(self) -> dict[str, bytes]:
        first = len(self.ids) + 1
        ids = [f"{self._name}/{self._run}/{seq}" for seq in range(first, first + self._plan.records)]
        self.ids += ids
        return {record_id: self._record(record_id) for record_id in ids}

    def _record(self, record_id: str) -> bytes:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        mono_ns, worth = time.monotonic_ns(), Priority.PREDICTION
        return _encode(
            Record(record_id, "prediction", self._run, "fleet", mono_ns, now, "synced", worth, _BODY)
        )

    def _deliver(self, batch: dict[str, bytes]) -> None:
        """Until all are accepted, or patience is at its end."""
        give_up_s = time.monotonic() + _PATIENCE_S
        while batch and time.monotonic() < give_up_s:
            asked_s = time.perf_counter()
            with suppress(UpstreamFault):
                accepted = self._sink.send(batch).accepted
                batch = {i: payload for i, payload in batch.items() if i not in accepted}
            self.answers_s.append(time.perf_counter() - asked_s)
            if batch:
                self.repeated += 1
                time.sleep(random.uniform(0.0, 2.0))
