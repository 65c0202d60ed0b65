"""From drafts through the fsynced outbox into a real Mosquitto; raw is paho alone, without any queue."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.figure import Figure
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import mqtt
from edgeagent.upstream.broker import WINDOW
from edgeagent.upstream.sync import sync_once

sys.path.append(str(Path(__file__).parents[1] / "devices"))
from mosquitto import Mosquitto

SINGLE, BATCHED = 4_000, 200_000
TURNS, BATCHED_TURNS = 7, 5
COMMIT = 1000  # records a transaction, as after an outage
UNSYNCED = Wall(0, synced=False)
BODY = {"label": "running", "scores": [0.1, 0.8, 0.1], "latency_ms": 4.5}


def measure() -> Iterator[Figure]:
    with TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        try:
            # In turns, so that whatever else this machine does falls on both alike.
            turns = [_turn(Path(folder) / str(turn), broker) for turn in range(TURNS)]
            append_s = median(turn.append_s for turn in turns)
            drain_s, raw_s = (
                median(each) for each in zip(*((t.drain_s, t.raw_s) for t in turns), strict=True)
            )
            rate, raw, payload = SINGLE / drain_s, SINGLE / raw_s, turns[0].payload
            yield Figure(
                f"drain into MQTT, {len(payload)} B a message",
                f"{rate:,.0f} /s",
                f"{raw:,.0f} /s",
                f"{(ratio := median(turn.raw_s / turn.drain_s for turn in turns)):.2f}",
                "25,000 or 0.80",
                rate >= 25_000 or ratio >= 0.8,
            )
            yield Figure("  durable append before it", f"{SINGLE / append_s:,.0f} /s")
            batched = [
                _drain(Path(folder) / f"batched{turn}", broker, BATCHED, "batch")[:2]
                for turn in range(BATCHED_TURNS)
            ]
            append_s, drain_s = (median(each) for each in zip(*batched, strict=True))
            rate = BATCHED / drain_s
            yield Figure(
                "drain into MQTT in batches", f"{rate:,.0f} /s", floor=">= 200,000", met=rate >= 200_000
            )
            yield Figure("  durable append before it", f"{BATCHED / append_s:,.0f} /s")
        finally:
            broker.kill()


class _Turn(NamedTuple):
    append_s: float
    drain_s: float
    raw_s: float
    payload: bytes


def _turn(folder: Path, broker: Mosquitto) -> _Turn:
    append_s, drain_s, payload = _drain(folder, broker, SINGLE, "record")
    return _Turn(append_s, drain_s, _raw(broker, [payload] * SINGLE), payload)


def _drain(folder: Path, broker: Mosquitto, count: int, message: str) -> tuple[float, float, bytes]:
    """Seconds to make `count` records durable, seconds to deliver them, and one of them."""
    outbox = Outbox(folder, "press-07", "0123456789ab", "boot", {"plant": frozenset()}, max_bytes=10**10)
    drafts = [Draft("prediction", 1, Priority.PREDICTION, BODY)] * COMMIT
    start_s = perf_counter()
    for _ in range(count // COMMIT):
        outbox.append(drafts, UNSYNCED)
    append_s = perf_counter() - start_s
    ((row, first),) = outbox.take("plant", 1, 1).items()
    outbox.settle("plant", (), {}, [row])
    options = mqtt.Options(
        url=broker.url, unheard="accept", message="batch" if message == "batch" else "record"
    )
    sink = mqtt.build("plant", options, "press-07")
    sink.idle()
    start_s = perf_counter()
    while sync_once("plant", outbox, sink, "boot", UNSYNCED).sent:
        pass
    drain_s = perf_counter() - start_s
    assert outbox.counters().delivered == count
    sink.close()
    outbox.close()
    return append_s, drain_s, first


def _raw(broker: Mosquitto, payloads: Sequence[bytes]) -> float:
    """paho alone, in one thread, with as many messages under way: seconds for all of them."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages = 2 * WINDOW
    acknowledged = 0

    def published(*_: object) -> None:
        nonlocal acknowledged
        acknowledged += 1

    client.on_publish = published
    client.connect("127.0.0.1", broker.port)
    while not client.is_connected():
        client.loop()
    start_s = perf_counter()
    sent = 0
    while acknowledged < len(payloads):
        while sent < len(payloads) and sent - acknowledged < WINDOW:
            client.publish("edge/press-07/prediction", payloads[sent], qos=1)
            sent += 1
        client.loop()
    took_s = perf_counter() - start_s
    client.disconnect()
    return took_s
