"""The board's clock as seen from the host: offset and drift from round trips, by least squares. No I/O, no clock.

An exchange says that the board's clock stood at the middle of its own two stamps when the host's stood at the
middle of its two, give or take half of the delay. Delay beyond the least one seen has an unknown share of either
way, so it counts as that much uncertainty: one exchange that went straight through outweighs many that waited.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

NS_PER_US = 1000
EXCHANGES = 64
FLOOR_NS = 50_000  # what even a straight way varies by: interrupts, the scheduler, USB
DRIFT_EXPECTED = 0.005  # a ceramic resonator's tolerance; crystals do a hundred times better
_U32 = 1 << 32


class _Exchange(NamedTuple):
    board_us: float
    host_ns: float
    delay_ns: float


class BoardClock:
    """Turns the board's 32-bit microseconds into the host's nanoseconds."""

    def __init__(self) -> None:
        self._exchanges: deque[_Exchange] = deque(maxlen=EXCHANGES)
        self._last_us, self._last_ns = 0, 0
        self._board_us, self._host_ns = 0.0, 0.0
        self.drift = 0.0
        """How much faster the board's clock runs than the host's: 1e-6 is a microsecond a second."""

    @property
    def known(self) -> bool:
        """Whether there has been an exchange."""
        return bool(self._exchanges)

    @property
    def delay_ns(self) -> float:
        """The least delay there and back among the exchanges kept; 0.0 before the first."""
        return min((e.delay_ns for e in self._exchanges), default=0.0)

    def exchanged(self, sent_ns: int, heard_ns: int, received_us: int, answered_us: int) -> None:
        """Take an exchange: the host's times of sending and hearing, and the board's two."""
        held_us = (answered_us - received_us) % _U32
        middle_ns = (sent_ns + heard_ns) // 2
        board_us = self._unwrap(received_us, middle_ns)
        self._last_us, self._last_ns = board_us, middle_ns
        delay_ns = max(heard_ns - sent_ns - held_us * NS_PER_US, 0)
        self._exchanges.append(_Exchange(board_us + held_us / 2, middle_ns, delay_ns))
        self._fit()

    def host_ns(self, board_us: int, now_ns: int) -> int:
        """The host's time at which the board's clock showed `board_us`, within 35 minutes of `now_ns`."""
        since_us = self._unwrap(board_us, now_ns) - self._board_us
        return round(self._host_ns + since_us * NS_PER_US / (1 + self.drift))

    def _unwrap(self, board_us: int, near_ns: int) -> int:
        """The count without its wraps, by where it must be about at the host's `near_ns`."""
        if not self._exchanges:
            return board_us
        about_us = self._last_us + (near_ns - self._last_ns) // NS_PER_US
        return about_us + (board_us - about_us + _U32 // 2) % _U32 - _U32 // 2

    def _fit(self) -> None:
        """A line through the exchanges; that the drift is small is known beforehand, and weighs as much as it can."""
        least_ns = self.delay_ns
        weights = [(FLOOR_NS + (e.delay_ns - least_ns) / 2) ** -2 for e in self._exchanges]
        total = sum(weights)
        weighed = list(zip(weights, self._exchanges, strict=True))
        self._board_us = sum(w * e.board_us for w, e in weighed) / total
        self._host_ns = sum(w * e.host_ns for w, e in weighed) / total
        below, above = DRIFT_EXPECTED**-2, 0.0
        for w, e in weighed:
            x_ns = (e.board_us - self._board_us) * NS_PER_US
            below += w * x_ns * x_ns
            above += w * x_ns * (e.host_ns - self._host_ns - x_ns)
        self.drift = 1 / (1 + above / below) - 1
