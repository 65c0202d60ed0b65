"""What waits for the board's answer: sent again until it comes, and never more at once than the board can hold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from firmware_bridge.codec import encode
from firmware_bridge.messages import Config, Ping, Set, TimeRequest

RETRY_NS = 250_000_000
TRIES = 8
FOREVER = 1 << 62
_U16 = 1 << 16

Request = Set | Config | TimeRequest | Ping


@dataclass
class Waiting:
    """A request without an answer yet. `id` is its correlation; a retry keeps it."""

    id: int
    frame: bytes
    max_tries: int
    tries: int = 0
    sent_ns: int = 0

    def due_ns(self) -> int:
        return self.sent_ns + RETRY_NS if self.tries else 0


class Requests:
    """By key: a new request with the key of one that waits takes its place."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._waiting: dict[str, Waiting] = {}
        self._full_until_ns = 0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def next_id(self) -> int:
        return next(self._ids) % _U16

    def put(self, key: str, id_: int, message: Request, tries: int = TRIES) -> None:
        self._waiting[key] = Waiting(id_, encode(message), tries)

    def drop(self, key: str) -> None:
        self._waiting.pop(key, None)

    def clear(self) -> None:
        """The port was opened anew, or the board was: nobody will answer what was sent before."""
        self._waiting.clear()
        self._full_until_ns = 0

    def answered(self, key: str, id_: int) -> Waiting | None:
        """The request that this is the answer to, which no longer waits; None if it is too late for it."""
        waiting = self._waiting.get(key)
        if waiting is None or waiting.id != id_ or not waiting.tries:
            return None
        self._full_until_ns = 0
        return self._waiting.pop(key)

    def due_ns(self) -> int:
        """When the next one is to be sent or given up."""
        if not self._waiting:
            return FOREVER
        return max(min(w.due_ns() for w in self._waiting.values()), self._full_until_ns)

    def given_up(self, now_ns: int) -> list[str]:
        """The keys of those that had all their tries in vain; they no longer wait."""
        keys = [k for k, w in self._waiting.items() if w.tries >= w.max_tries and now_ns >= w.due_ns()]
        for key in keys:
            del self._waiting[key]
        return keys

    def due(self, now_ns: int, window_bytes: int) -> list[Waiting]:
        """Those to send now, oldest first, as far as the board can hold them beside what it still has to answer."""
        underway = [w for w in self._waiting.values() if w.tries and now_ns < w.due_ns()]
        out = []
        for waiting in self._waiting.values():
            if now_ns < waiting.due_ns():
                continue
            if underway and sum(len(w.frame) for w in underway) + len(waiting.frame) > window_bytes:
                self._full_until_ns = min(w.due_ns() for w in underway)
                break
            waiting.tries, waiting.sent_ns = waiting.tries + 1, now_ns
            underway.append(waiting)
            out.append(waiting)
        return out
