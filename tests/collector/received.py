"""Records as devices make them, and a collector to send them to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import numpy as np
from low_ports import low_port

from edgeagent.collector.dataset import lines, records_folder
from edgeagent.collector.server import Server
from edgeagent.collector.store import Store, utc
from edgeagent.records import Channel, Float32Array, encode_raw

RUN = "0123456789ab"
CHANNELS = (Channel("current", "A", 0.25), Channel("temperature", "degC", 0.5))
VALUES: Float32Array = np.array([[0.25, 20.0], [0.5, 20.5], [-1.0, 21.0]], dtype=np.float32)


def record(seq: int, device: str = "press-07", **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "id": f"{device}/{RUN}/{seq}",
        "kind": "event",
        "run": RUN,
        "boot_id": "boot",
        "mono_ns": seq,
        "time": "2026-11-22T10:00:00.000000Z",
        "clock": "synced",
        "priority": 4,
        "body": {"type": "alert", "message": "it is hot\nvery"},
        "schema": 1,
    }
    return msgspec.msgpack.encode(fields | changes)


def sample(seq: int, **changes: Any) -> bytes:
    body = {
        "pipeline": "motion",
        "sensor": "motor",
        "reason": "baseline",
        "probability": 0.01,
        "t_start_ns": 1_000,
        "t_end_ns": 30_001_000,
        "t_mono_ns": 2_000,
        "rate_hz": 100.0,
        "channels": msgspec.to_builtins(CHANNELS),
        "missing": 0,
        **msgspec.structs.asdict(encode_raw(VALUES, CHANNELS)),
    }
    return record(seq, kind="sample", priority=0, body=body | changes)


def ids(folder: Path) -> list[str]:
    """The id of every line, doubles and all."""
    return [entry["id"] for entry in lines(folder)]


def entries(folder: Path) -> list[dict[str, Any]]:
    files = sorted(records_folder(folder).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@contextmanager
def collector(folder: Path, **options: Any) -> Iterator[Server]:
    """A collector in this process; `now` is its clock."""
    store = Store(folder, options.pop("now", utc))
    with Server(store, "127.0.0.1", options.pop("port", 0), **options) as server:
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class CollectorProcess:
    """`edgeagent collector` as a process of its own."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        port = port or low_port()  # it may be asked for again when this one has ended
        command = [sys.executable, "-m", "edgeagent", "collector", "--data", str(folder), "--port", str(port)]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.said = self._process.stdout.readline()
        self.url = self.said.split()[1]
        self.port = int(self.url.rpartition(":")[2])

    def end(self, signal: int) -> int:
        os.kill(self._process.pid, signal)
        code = self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()
        return code
