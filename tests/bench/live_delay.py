"""How long a new record is on its way, from the core to the collector, and how much longer while a backlog drains.

With the agent's writer and sender, commits each second as by default, and the collector as another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter, sleep

import msgspec

from bench.figure import Figure
from bench.http_drain import collector
from edgeagent.agent.clock import RealClock
from edgeagent.agent.outgoing import Sender, WriterLoop
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import Result, Sink, http

BACKLOG, COMMIT = 1_000_000, 1000
LIVE, PERIOD_S = 300, 0.05
MOST_TIMES = 2.0
PATIENCE_S = 120.0


def measure() -> Iterator[Figure]:
    alone_s, _ = _live(0)
    beside_s, left = _live(BACKLOG)
    ratio = beside_s / alone_s
    name = f"live record to the collector, p99, {left:,} of {BACKLOG:,} still wait"
    yield Figure(
        name,
        f"{beside_s * 1000:.0f} ms",
        f"{alone_s * 1000:.0f} ms (alone)",
        f"{ratio:.2f}",
        f"<= {MOST_TIMES:g}",
        ratio <= MOST_TIMES and (left > 0),
    )


class _Timed:
    """Notes when each live record has been accepted."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self.bytes_sent = sink, 0
        self.arrived_s: dict[int, float] = {}
        self.all_there = Event()

    def send(self, batch: Mapping[int, bytes]) -> Result:
        result = self._sink.send(batch)
        now_s, self.bytes_sent = perf_counter(), self._sink.bytes_sent
        for row in result.accepted:
            if b"live" in batch[row]:
                self.arrived_s[msgspec.msgpack.decode(batch[row])["body"]["live"]] = now_s
        if len(self.arrived_s) == LIVE:
            self.all_there.set()
        return result

    def idle(self) -> None:
        self._sink.idle()

    def close(self) -> None:
        self._sink.close()


def _live(backlog: int) -> tuple[float, int]:
    """p99 of the delays, and how much of the backlog waits at the end."""
    with TemporaryDirectory() as name, collector(Path(name) / "dataset") as url:
        state = Path(name) / "state"
        old = _open(state, 1)
        for _ in range(backlog // COMMIT):
            old.append(
                [Draft("sample", 0, Priority.BULK, {"data": bytes(100)})] * COMMIT, Wall(0, synced=False)
            )
        seq = old.next_seq
        old.close()
        sink = _Timed(http.build("fleet", http.Options(url=url), "bench"))
        delays_s, left = _run(Writer(lambda first: _open(state, max(first, seq)), flush_s=1.0), sink)
    return quantiles(delays_s, n=100)[98], left


def _run(writer: Writer, sink: _Timed) -> tuple[list[float], int]:
    clock = RealClock()
    loop = WriterLoop(writer, clock, lambda: sender.kick())
    sender = Sender("fleet", sink, loop, clock, "boot")
    threads = [Thread(target=loop.run, args=(lambda now_ns: None,)), Thread(target=sender.run)]
    for thread in threads:
        thread.start()
    put_s = []
    for n in range(LIVE):
        put_s.append(perf_counter())
        loop.put([Draft("prediction", clock.now_ns(), Priority.PREDICTION, {"live": n})])
        sleep(PERIOD_S)
    in_time = sink.all_there.wait(PATIENCE_S)
    left = loop.ask(Outbox.counters).waiting
    sender.stop()
    threads[1].join()
    loop.stop()
    threads[0].join()
    if not in_time:
        raise TimeoutError(f"{LIVE - len(sink.arrived_s)} live records have not arrived")
    return [sink.arrived_s[n] - put_s[n] for n in range(LIVE)], left


def _open(folder: Path, first_seq: int) -> Outbox:
    return Outbox(folder, "bench", "0" * 12, "boot", {"fleet": ()}, max_bytes=10**10, first_seq=first_seq)
