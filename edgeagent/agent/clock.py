"""The only code that reads a clock or waits: real, scaled (the demo's `--fast`) and virtual (replay, tests)."""

from __future__ import annotations

import ctypes
import struct
import time
from pathlib import Path
from threading import Event

from edgeagent.records import NS_PER_S
from edgeagent.timebase import Wall, best_wall

_TIME_ERROR = 5  # adjtimex(2): "clock not synchronized"
_TIMEX_BYTES = 208
_STOOD, _MAY_RUN = 0, 1  # the two words of a shared clock
_SHARED_BYTES = 16
_FOR_EVER_NS = (1 << 63) - 1
_TIMESYNCD_HAS_SET_IT = Path("/run/systemd/timesync/synchronized")


def _clock_is_set() -> bool:
    """Whether systemd-timesyncd, or whoever else sets this machine's clock, has said that it is right.

    The file comes first: in the service's sandbox (`ProtectClock=`) the kernel may not be asked.
    """
    if _TIMESYNCD_HAS_SET_IT.exists():
        return True
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state: int = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR


class RealClock:
    """CLOCK_MONOTONIC as it is."""

    speed = 1.0
    _told: Wall | None = None
    now_ns = staticmethod(time.monotonic_ns)

    def wall(self) -> Wall:
        return best_wall(Wall(time.time_ns() - self.now_ns(), _clock_is_set()), self._told)

    def tell_wall(self, told: Wall) -> None:
        self._told = told

    def sleep_s(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0))

    def wait(self, event: Event, until_ns: int) -> bool:
        left_s = self.real_s(until_ns - self.now_ns())
        return event.wait(left_s) if left_s > 0 else event.is_set()

    def let_run(self, duration_ns: int | None) -> None:
        """It waits for nobody."""

    def real_s(self, duration_ns: int) -> float:
        return duration_ns / NS_PER_S


class ScaledClock(RealClock):
    """Time that runs `speed` times as fast from `origin_ns` on: processes that share both share one time."""

    def __init__(self, speed: float, origin_ns: int) -> None:
        self.speed = speed
        self._origin_ns = origin_ns

    @property
    def spec(self) -> str:
        """What `--clock` takes, for another process to have the same time."""
        return f"{self.speed:g}@{self._origin_ns}"

    def now_ns(self) -> int:
        return self._origin_ns + round((time.monotonic_ns() - self._origin_ns) * self.speed)

    def sleep_s(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0) / self.speed)

    def real_s(self, duration_ns: int) -> float:
        return duration_ns / NS_PER_S / self.speed


class SharedClock(ScaledClock):
    """One scaled time for several processes, that stands still while the one who must not come late is held up.

    A machine that stalls for 0.2 s stalls for 2 s of a time that is ten times as fast: a virtual chip's FIFO would run
    over, which no chip's would. So who reads it lets time run, a stretch at a time (`let_run`; one of all processes).

    Args:
        file: What they share, made if it is not there: two int64, how many real ns it has stood still so far, and how
            far it may run, in ns of CLOCK_MONOTONIC without those.
    """

    def __init__(self, speed: float, origin_ns: int, file: Path) -> None:
        import mmap

        super().__init__(speed, origin_ns)
        self._file = file
        if not file.exists():
            file.write_bytes(struct.pack("=2q", 0, _FOR_EVER_NS))
        with file.open("r+b") as f:
            self._shared = memoryview(mmap.mmap(f.fileno(), _SHARED_BYTES)).cast("q")

    @property
    def spec(self) -> str:
        return f"{super().spec}:{self._file}"

    def now_ns(self) -> int:
        return self._origin_ns + round((self._ran_ns() - self._origin_ns) * self.speed)

    def let_run(self, duration_ns: int | None) -> None:
        ran_ns = self._ran_ns()
        self._shared[_STOOD] = time.monotonic_ns() - ran_ns
        self._shared[_MAY_RUN] = (
            _FOR_EVER_NS if duration_ns is None else ran_ns + round(duration_ns / self.speed)
        )

    def _ran_ns(self) -> int:
        may_run_ns = self._shared[_MAY_RUN]  # before the other, for it is written after it
        return min(time.monotonic_ns() - self._shared[_STOOD], may_run_ns)


class VirtualClock:
    """Time that stands still until someone waits or moves it."""

    speed = 1.0

    def __init__(self, now_ns: int = 0, wall: Wall = Wall(0, synced=False)) -> None:  # noqa: B008
        self._now_ns = now_ns
        self._wall = wall
        self._told: Wall | None = None

    def now_ns(self) -> int:
        return self._now_ns

    def wall(self) -> Wall:
        return best_wall(self._wall, self._told)

    def tell_wall(self, told: Wall) -> None:
        self._told = told

    def set_wall(self, wall: Wall) -> None:
        self._wall = wall

    def sleep_s(self, seconds: float) -> None:
        self._now_ns += round(seconds * NS_PER_S)

    def wait(self, event: Event, until_ns: int) -> bool:
        if not event.is_set():
            self._now_ns = max(self._now_ns, until_ns)
        return event.is_set()

    def let_run(self, duration_ns: int | None) -> None:
        """It runs only when someone waits."""

    def real_s(self, duration_ns: int) -> float:
        del duration_ns
        return 0.0
