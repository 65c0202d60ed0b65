"""Where records go: one kind of upstream a file; `fleet: {http: {...}}` is `edgeagent/upstream/http.py`.

A sink's file has two names:

    class Options(msgspec.Struct, frozen=True, kw_only=True): ...        # its keys in the YAML
    def build(name: str, options: Options, device: str) -> Sink: ...     # opens nothing; raises ConfigFault

and may have `def advise(options) -> Iterable[Advice]` for what `check` should warn of.
One sender thread an upstream calls `sync.sync_once`; the sink itself neither waits between sends nor retries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

from edgeagent.errors import UpstreamFault
from edgeagent.records import Priority

SLOWEST_BYTES_PER_S = 20_000
"""A link may be as slow: whoever waits for an answer waits so much longer for what was sent."""


Name = Any
"""What whoever sends a record calls it: the number of its row. A sink gives it back, and makes nothing else of it."""


class Result(NamedTuple):
    """What became of a batch, by the records' names. What is in neither was kept back, and is sent again."""

    accepted: frozenset[Name] = frozenset()
    rejected: Mapping[Name, str] = {}
    """The reason for each."""
    fault: UpstreamFault | None = None
    """Why the rest was kept, where that can be said; the sender pauses then, as if it had been raised."""
    unfinished: bool = False
    """Part of a record has arrived: it was kept, and the next send goes on with it, if nothing of more worth waits."""


class Advice(NamedTuple):
    """A warning of `check` about one key of a sink's options."""

    key: str
    text: str


class Sink(Protocol):
    """One upstream as the sender sees it."""

    bytes_sent: int
    """Bytes of all batches handed over so far, whatever became of them."""

    def send(self, batch: Mapping[Name, bytes]) -> Result:
        """Hand over records (their names, and each as MessagePack), in order.

        To accept is to promise: the record is durable there. A record that comes a second time is accepted
        again and stored once. Raises UpstreamFault if nothing can be said: then all of it is kept.

        An empty batch asks whether the far end is there and lets us in, in as few bytes as that takes: the probe
        after an outage, which no poisoned or forbidden record can spoil.
        """
        ...

    def idle(self) -> None:
        """Called every some seconds while nothing waits: the place to keep a connection alive.

        Raises UpstreamFault if the far end is known to be away.
        """
        ...

    def close(self) -> None:
        """Let go of connections; never raises."""
        ...


class Queue(Protocol):
    """What is needed of the outbox. Both raise StorageFault."""

    def take(self, upstream: str, max_records: int, max_bytes: int, least: Priority) -> Mapping[int, bytes]:
        """Records by their rows, in the order in which they are to be sent; b"" is one that cannot be read."""
        ...

    def settle(
        self, upstream: str, accepted: Collection[int], rejected: Mapping[int, str], kept: Collection[int]
    ) -> None: ...
