"""Someone else's driver: a counter whose mood stands in a file, so that a test can make it fail as devices do."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import numpy as np

from edgeagent.config.quantities import FilePath, Hz
from edgeagent.errors import DeviceDenied, DeviceGone
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Layout
from edgeagent.sensors import Context


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`mood` is a file that holds one of: well, gone, denied, crash, block."""

    mood: FilePath
    port: str = "acme"
    rate: Hz = 100.0


def layout(options: Options) -> Layout:
    return Layout(options.rate, (Channel("n", "1", 1.0),))


def build(name: str, options: Options, context: Context) -> Counter:
    return Counter(name, options, context)


class Counter:
    """Sample k has the value k and is taken k periods after the first opening; it keeps them until they are read."""

    def __init__(self, name: str, options: Options, context: Context) -> None:
        self.port = options.port
        self.layout: Layout | None = layout(options)
        self.wake: Callable[[], None] | None = None
        self.truth: Callable[[int, int], str | None] | None = None
        self._name, self._options, self._clock = name, options, context.clock
        self._period_ns = round(NS_PER_S / options.rate)
        self._zero_ns: int | None = None
        self._taken = self._opened = self._seq = 0
        self._due_ns = 0

    def open(self) -> None:
        self._fare()
        self._opened += 1
        if self._zero_ns is None:
            self._zero_ns = self._clock.now_ns()

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        self._fare()
        now_ns = self._clock.now_ns()
        self._due_ns = now_ns + 50 * NS_PER_MS
        assert self._zero_ns is not None
        due = (now_ns - self._zero_ns) // self._period_ns + 1
        k = np.arange(self._taken, due)
        if not len(k):
            return None
        self._taken, self._seq = due, self._seq + 1
        return Block(
            self._name, self._seq, self._zero_ns + k * self._period_ns, k.astype(np.float32)[:, None], now_ns
        )

    def close(self) -> None:
        pass

    def counters(self) -> dict[str, int | float]:
        return {"opened": self._opened, "taken": self._taken}

    def _fare(self) -> None:
        mood = self._options.mood.read_text().strip()
        if mood == "gone":
            raise DeviceGone(f"nothing there at {self._clock.now_ns()}", where=self.port)
        if mood == "denied":
            raise DeviceDenied("this user may not open it", where=self.port)
        if mood == "crash":
            raise ZeroDivisionError("a bug in a driver")
        if mood == "block":
            threading.Event().wait()
