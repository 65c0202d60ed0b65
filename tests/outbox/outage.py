"""Days without a network, in virtual time: records of all strata at a steady rate, then a receiver that keeps count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeagent.errors import Bug
from edgeagent.outbox.counts import Counters
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Kind, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import Result
from edgeagent.upstream.sync import sync_once

HOUR_S = 3600
WALL = Wall(10**18, synced=True)

_STRATA: dict[int, tuple[Kind, Priority]] = {
    0: ("event", Priority.EVENT),
    1: ("sample", Priority.BULK),
    2: ("health", Priority.HEALTH),
    3: ("sample", Priority.UNCERTAIN),
}
_OF = 10


def draft(n: int, mono_ns: int) -> Draft:
    """Of ten records one each is an event, a random sample, health and an uncertain sample; the others predictions."""
    kind, priority = _STRATA.get(n % _OF, ("prediction", Priority.PREDICTION))
    return Draft(kind, mono_ns, priority, {"label": "walking", "score": 0.93, "n": n})


class Outage:
    """A device's writer and outbox while nobody answers."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.made = 0
        self._now_ns = 0
        self._writer = Writer(
            lambda seq: Outbox(
                folder,
                "press-07",
                "0" * 12,
                "boot",
                {"fleet": ()},
                max_bytes=max_bytes,
                first_seq=seq,
            ),
            flush_s=1.0,
        )
        self._writer.flush(0, WALL)

    @property
    def outbox(self) -> Outbox:
        if self._writer.outbox is None:
            raise Bug(f"the outbox is closed: {self._writer.trouble}")
        return self._writer.outbox

    def last(self, seconds: int, period_s: int, a_period: int) -> Iterator[None]:
        """Go on without a network: so many records each period. Yields every hour."""
        for second in range(0, seconds, period_s):
            self._now_ns += period_s * NS_PER_S
            batch = [draft(self.made + at, self._now_ns) for at in range(a_period)]
            self._writer.put(batch, self._now_ns)
            self.made += a_period
            self._writer.step(self._now_ns + NS_PER_S, WALL)
            if second % HOUR_S == 0:
                yield

    def counters(self) -> Counters:
        self._writer.flush(self._now_ns, WALL)
        return self.outbox.counters()

    def drain(self, receiver: Receiver) -> Iterator[None]:
        """Let the network come back. Yields after each batch."""
        while sync_once("fleet", self.outbox, receiver, "boot", WALL).sent:
            yield

    def close(self) -> None:
        self._writer.close()


class _Seen(msgspec.Struct):
    id: str
    kind: str
    priority: Priority
    body: dict[str, Any]


class Stratum(NamedTuple):
    worth: str
    kind: str


class Receiver:
    """Accepts everything, and counts: each record once, by stratum, and what the gap records say is missing.

    Args:
        most: How many records may come.
    """

    def __init__(self, most: int) -> None:
        self.bytes_sent = 0
        self.received: Counter[Stratum] = Counter()
        self.missing: Counter[Stratum] = Counter()
        self.doubled = 0
        self._seen = bytearray(most + 1)
        self._decode = msgspec.msgpack.Decoder(_Seen).decode

    def send(self, batch: Mapping[int, bytes]) -> Result:
        for payload in batch.values():
            self._count(self._decode(payload))
        return Result(accepted=frozenset(batch))

    def idle(self) -> None: ...

    def close(self) -> None: ...

    def _count(self, record: _Seen) -> None:
        seq = int(record.id.rpartition("/")[2])
        self.doubled += self._seen[seq]
        self._seen[seq] = 1
        self.received[Stratum(record.priority.name.lower(), record.kind)] += 1
        if record.kind == "gap":
            for worth, kinds in record.body["strata"].items():
                self.missing.update({Stratum(worth, kind): n for kind, n in kinds.items()})
