"""How long one device is waited for on a line that others share: no I/O, and time is passed in."""

from __future__ import annotations

from collections import deque
from typing import Literal

from edgeagent.records import NS_PER_MS, NS_PER_S

LATE_NS = 8 * NS_PER_MS  # one device may make another so late; the floor is 10 ms
LEAST_NS = 50 * NS_PER_MS  # less is no fair chance to answer, for one that is not known
AGAIN_NS = (2 * NS_PER_S, 4 * NS_PER_S, 8 * NS_PER_S)  # by its silences; others are LATE_NS late
AT_LEAST_NS = 30 * NS_PER_S  # however late
REMEMBERED = 100  # answers

What = Literal["read", "write"]


class Patience:
    """What a device has shown of itself, and how long it is waited for after that.

    `silences` is how often in a row it has not answered.
    """

    def __init__(self, timeout_ns: int) -> None:
        self.silences = 0
        self._timeout_ns = timeout_ns
        self._took_ns: dict[What, deque[int]] = {
            "read": deque(maxlen=REMEMBERED),
            "write": deque(maxlen=REMEMBERED),
        }
        self._asked_ns = self._stinted_ns = self._missed_ns = 0

    def ask(self, what: What, answer_ns: int, room_ns: int, now_ns: int) -> int | None:
        """How long to wait after a request; None if it was silent, and is not to be asked again now.

        Args:
            what: Each has its own experience: a relay takes longer to switch than to be read.
            answer_ns: How long the bytes of the answer are on the line.
            room_ns: How long until another device is due.
            now_ns: The time of the request.
        """
        known = self._took_ns[what]
        enough_ns = min(max(known) + answer_ns + LATE_NS, self._timeout_ns) if known else self._timeout_ns
        late_ns = room_ns + LATE_NS
        if not self.silences:
            wait_ns = max(late_ns, enough_ns)
        elif room_ns >= enough_ns:
            wait_ns = room_ns
        else:
            fair_ns = enough_ns if known else LEAST_NS
            again_ns = AGAIN_NS[min(self.silences, len(AGAIN_NS)) - 1] if late_ns >= fair_ns else AT_LEAST_NS
            if now_ns - self._asked_ns < again_ns:
                return None
            wait_ns = max(late_ns, fair_ns)
        wait_ns = min(wait_ns, self._timeout_ns)
        self._asked_ns = now_ns
        self._stinted_ns = wait_ns - answer_ns if wait_ns > late_ns else 0
        return wait_ns

    def answered(self, what: What, bytes_ns: int, now_ns: int) -> None:
        """It has; `bytes_ns` is how long request and answer were on the line.

        One that was silent just once before was late then, and not dead: if it was given no more than it had ever
        needed, it needs more.
        """
        took_ns = now_ns - self._asked_ns - bytes_ns
        self._took_ns[what].append(max(took_ns, self._missed_ns if self.silences == 1 else 0))
        self.silences = 0

    def was_silent(self) -> None:
        self.silences += 1
        self._missed_ns = self._stinted_ns
