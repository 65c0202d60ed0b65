"""A fleet of simulated devices that sends to one collector: is anything lost or doubled, and how long do answers take?

Each device has a connection of its own, and keeps and repeats what was not answered. Every tenth batch is sent twice,
as when an answer is lost.
"""

from __future__ import annotations

import random
import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from edgeagent.collector import dataset
from edgeagent.collector.tokens import Tokens
from edgeagent.errors import StorageFault
from edgeagent.records import Priority, Record
from edgeagent.upstream.codec import decode_answer, encode_batch

_LONGEST_PAUSE_S = 2.0
_TWICE = 10
_TIMEOUT_S = 60.0
_BODY = {
    "pipeline": "motion",
    "label": "running",
    "score": 0.8,
    "scores": [0.1, 0.8, 0.1],
    "latency_ns": 4_500_000,
}
_encode = msgspec.msgpack.Encoder().encode


class Plan(NamedTuple):
    """What each device sends: a batch every so many seconds, at a phase of its own; 0 is without a pause.

    A batch that is not accepted for `patience_s` is given up, and counted as lost.
    """

    devices: int
    batches: int
    records: int
    every_s: float
    patience_s: float = 120.0

    @property
    def total(self) -> int:
        return self.devices * self.batches * self.records


class Report(NamedTuple):
    """How it went; `answers_s` in ascending order."""

    seconds: float
    answers_s: list[float]
    repeated: int
    lost: int
    doubled: int | None
    """None where the dataset was not seen."""

    def percentile_s(self, share: float) -> float:
        return self.answers_s[min(int(len(self.answers_s) * share), len(self.answers_s) - 1)]


def names(devices: int) -> list[str]:
    return [f"device-{number:05}" for number in range(devices)]


class _Device:
    """One of the fleet. `run` is the body of its thread."""

    def __init__(self, name: str, url: str, token: str | None, plan: Plan, phase_s: float) -> None:
        self._name, self._plan, self._phase_s = name, plan, phase_s
        self._run = secrets.token_hex(6)
        self._headers = {"Edgeagent-Device": name, "Content-Type": "application/msgpack"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=_TIMEOUT_S)
        self._path = f"{parts.path.rstrip('/')}/v1/records"
        self.answers_s: list[float] = []
        self.repeated = 0
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        start_s = time.monotonic() + self._phase_s
        for number in range(self._plan.batches):
            time.sleep(max(start_s + number * self._plan.every_s - time.monotonic(), 0.0))
            ids = self.ids(number)
            body = encode_batch([self._record(record_id) for record_id in ids])
            for _ in range(2 if number % _TWICE == _TWICE // 2 else 1):
                self._deliver(body, ids)
        self._connection.close()

    def ids(self, batch: int) -> list[str]:
        first = batch * self._plan.records + 1
        return [f"{self._name}/{self._run}/{seq}" for seq in range(first, first + self._plan.records)]

    def _record(self, record_id: str) -> bytes:
        now_ns = time.monotonic_ns()
        return _encode(
            Record(
                record_id,
                "prediction",
                self._run,
                "loadtest",
                now_ns,
                None,
                "unsynced",
                Priority.PREDICTION,
                _BODY,
            )
        )

    def _deliver(self, body: bytes, ids: list[str]) -> None:
        """Until all are accepted, or patience is at its end."""
        give_up_s = time.monotonic() + self._plan.patience_s
        while not self._post(body, ids) and time.monotonic() < give_up_s:
            self.repeated += 1
            time.sleep(random.uniform(0.0, _LONGEST_PAUSE_S))  # noqa: S311 (no secret)

    def _post(self, body: bytes, ids: list[str]) -> bool:
        asked_s = time.perf_counter()
        try:
            self._connection.request("POST", self._path, body, self._headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            return False
        self.answers_s.append(time.perf_counter() - asked_s)
        if answer.status != 200:
            return False
        accepted = decode_answer(said, ids).accepted
        self.acknowledged |= accepted
        return len(accepted) == len(ids)


def at_once(runs: Iterable[Callable[[], None]]) -> float:
    """Run each in a thread of its own, and say how many seconds it took all of them."""
    threads = [Thread(target=run, daemon=True) for run in runs]
    start_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start_s


def run(url: str, tokens: Tokens, plan: Plan, folder: Path | None = None) -> Report:
    """Send a fleet's records to a collector. What it lost or doubled is counted in its dataset, if that is here.

    Otherwise what it did not acknowledge counts as lost. Raises StorageFault if there is none.
    """
    _look_for(url)
    phases = [random.uniform(0.0, plan.every_s) for _ in range(plan.devices)]  # noqa: S311 (no secret)
    fleet = [
        _Device(name, url, tokens.of(name), plan, phase)
        for name, phase in zip(names(plan.devices), phases, strict=True)
    ]
    seconds = at_once([device.run for device in fleet])
    answers_s = sorted(answer for device in fleet for answer in device.answers_s)
    repeated = sum(device.repeated for device in fleet)
    if not answers_s:
        raise StorageFault("no device got an answer", where=url, hint="Does the collector run there?")
    if folder is None:
        lost = plan.total - sum(len(device.acknowledged) for device in fleet)
        return Report(seconds, answers_s, repeated, lost, None)
    stored = Counter(entry["id"] for entry in dataset.lines(folder))
    sent = {record_id for device in fleet for batch in range(plan.batches) for record_id in device.ids(batch)}
    lost = len(sent - stored.keys())
    return Report(seconds, answers_s, repeated, lost, stored.total() - len(stored))


def _look_for(url: str) -> None:
    """Before a thousand devices try for minutes."""
    hint = "Does the collector run there?"
    try:
        parts = urlsplit(url)
        address = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection(address, _TIMEOUT_S).close()
    except (KeyError, ValueError) as e:
        raise StorageFault(
            "not a collector's URL", where=url, expected="http://HOST:PORT or https://HOST"
        ) from e
    except OSError as e:
        raise StorageFault(f"no connection ({e.strerror or e})", where=url, hint=hint) from e


@contextmanager
def own_collector(folder: Path, devices: int) -> Iterator[tuple[str, Tokens]]:
    """A collector in a process of its own, with a token for each device: its URL and the tokens."""
    of_device = {name: secrets.token_urlsafe(16) for name in names(devices)}
    file = folder / "tokens"
    file.write_text("".join(f"{device} {token}\n" for device, token in of_device.items()))
    options = ["--data", str(folder / "dataset"), "--port", "0", "--token-file", str(file)]
    command = [sys.executable, "-m", "edgeagent", "collector", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own)
        assert process.stdout
        said = process.stdout.readline()
        try:
            yield said.split()[1], Tokens(of_device)
        finally:
            process.terminate()
