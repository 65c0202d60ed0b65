"""Group commit, and life with a disk that fails: the step of the writer's thread, without its loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from edgeagent.errors import StorageFault
from edgeagent.outbox.files import SetAside
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import NS_PER_S, Draft, Priority
from edgeagent.timebase import Wall

Result = TypeVar("Result")

FLUSH_RECORDS = 100
FLUSH_BYTES = 256_000
SPARING, SPARING_NS = 10, 30 * NS_PER_S
"""To spare the card so many times the records and bytes may wait for a commit, and so long."""
MEMORY_BYTES = 8_000_000
_FIRST_RETRY_S = 1.0
_MOST_RETRY_S = 60.0
_ENVELOPE_BYTES = 250
_EXPIRY_NS = 60 * NS_PER_S


class Writer:
    """Puts drafts into the outbox, many in one commit, and holds them in memory while that cannot be done.

    A commit is due with the first of 100 records, 256 kB, an event, or `flush_s`. After a StorageFault the
    outbox is closed (a failed sync is not to be trusted to succeed when it is asked again) and opened anew,
    again and again with longer pauses; meanwhile drafts wait in memory, and when that is full those worth
    least are dropped, counted, and told of in a gap record.

    Args:
        open_outbox: Opens the outbox; is handed the sequence number to begin with.
        flush_s: How long a record may wait to be made durable.
        memory_bytes: How much may wait in memory, about.
        say: Told the fault when the outbox cannot be used, and None when it can again; once each.
    """

    def __init__(
        self,
        open_outbox: Callable[[int], Outbox],
        flush_s: float,
        *,
        memory_bytes: int = MEMORY_BYTES,
        say: Callable[[StorageFault | None], None] = lambda fault: None,
    ) -> None:
        self._open_outbox, self._say = open_outbox, say
        self._flush_ns = round(flush_s * NS_PER_S)
        self._memory_bytes = memory_bytes
        self.outbox: Outbox | None = None
        self.trouble: StorageFault | None = None
        self.set_aside: list[SetAside] = []
        self.dropped: Counter[str] = Counter()
        self.sparing = False
        """Whether to spare the card: commit seldom, whatever `flush_s` is. Events go at once all the same."""
        self.queued_bytes = 0
        """Of the records made durable, about."""
        self._untold: Counter[str] = Counter()
        self._pending: list[Draft] = []
        self._pending_bytes = 0
        self._pending_since_ns = 0
        self._batch: list[Draft] = []
        self._next_seq = 1
        self._retry_s = _FIRST_RETRY_S
        self._retry_ns: int | None = None
        self._expiry_ns = 0

    @property
    def waiting(self) -> int:
        """How many drafts are not durable yet."""
        return len(self._pending) + len(self._batch)

    def put(self, drafts: Sequence[Draft], now_ns: int) -> None:
        """Take drafts over; the next `step` commits them when they are due."""
        if not self._pending:
            self._pending_since_ns = now_ns
        self._pending += drafts
        self._pending_bytes += sum(map(_about_bytes, drafts))
        if self._pending_bytes > self._memory_bytes:
            self._shed()

    def due_ns(self) -> int | None:
        """When the next `step` has something to do; None if nothing waits."""
        if self.outbox is None:
            return self._retry_ns or 0
        return 0 if self.outbox.salvaging else self._commit_ns()

    def _commit_ns(self) -> int | None:
        """When what waits is to be committed."""
        if not self.waiting:
            return None
        scale = SPARING if self.sparing else 1
        many = len(self._pending) >= FLUSH_RECORDS * scale or self._pending_bytes >= FLUSH_BYTES * scale
        if many or self._batch or any(draft.priority >= Priority.EVENT for draft in self._pending):
            return 0
        return self._pending_since_ns + (max(self._flush_ns, SPARING_NS) if self.sparing else self._flush_ns)

    def step(self, now_ns: int, wall: Wall) -> None:
        """Open the outbox, commit, or salvage a little, if that is due."""
        due_ns = self._commit_ns() if self.outbox else self.due_ns()
        if due_ns is not None and due_ns <= now_ns:
            self.flush(now_ns, wall)
        if self.outbox and self.outbox.salvaging:
            self._salvage(self.outbox, now_ns, wall)
        if self.outbox and now_ns >= self._expiry_ns:
            self._expire(self.outbox, now_ns, wall)

    def flush(self, now_ns: int, wall: Wall) -> bool:
        """Commit everything now, due or not; whether all of it is durable."""
        try:
            outbox = self.outbox or self._open(now_ns)
            while self._batch or self._pending or self._untold:
                self._next_batch(now_ns)
                outbox.append(self._batch, wall)
                self.queued_bytes += sum(map(_about_bytes, self._batch))
                self._batch = []
        except StorageFault as e:
            self._lose(e, now_ns)
            return False
        self._retry_s, self._retry_ns = _FIRST_RETRY_S, None
        if self.trouble:
            self.trouble = None
            self._say(None)
        return True

    def use(self, do: Callable[[Outbox], Result], now_ns: int) -> Result:
        """Do something else with the outbox: a sender's take and settle, the counters.

        Raises StorageFault, at once while the outbox cannot be used.
        """
        if self.outbox is None:
            raise (
                self.trouble.with_traceback(None)
                if self.trouble
                else StorageFault("the outbox is not open yet")
            )
        try:
            return do(self.outbox)
        except StorageFault as e:
            self._lose(e, now_ns)
            raise

    def close(self) -> None:
        """Let go of the outbox; never raises, and flushes nothing."""
        if self.outbox:
            self._next_seq = self.outbox.next_seq
            self.outbox.close()
            self.outbox = None

    def _open(self, now_ns: int) -> Outbox:
        self.outbox = self._open_outbox(self._next_seq)
        if self.outbox.next_seq > self._next_seq:
            self._batch = []  # the commit that failed was durable after all
        self._note_damage(self.outbox, now_ns)
        return self.outbox

    def _note_damage(self, outbox: Outbox, now_ns: int) -> None:
        aside = outbox.set_aside
        if aside and aside not in self.set_aside:
            self.set_aside.append(aside)
            self.put([aside.gap(now_ns)], now_ns)

    def _salvage(self, outbox: Outbox, now_ns: int, wall: Wall) -> None:
        try:
            salvaged = outbox.salvage(now_ns, wall)
        except StorageFault as e:
            return self._lose(e, now_ns)
        if salvaged:
            body = {
                "type": "salvaged",
                "file": salvaged.file,
                "records": sum(salvaged.kinds.values()),
                "kinds": salvaged.kinds,
            }
            if salvaged.deleted:
                body["deleted"] = salvaged.deleted
            self.put([Draft("gap", now_ns, Priority.EVENT, body)], now_ns)
        return None

    def _expire(self, outbox: Outbox, now_ns: int, wall: Wall) -> None:
        """Once a minute, and again at once while there is more of it."""
        try:
            if not outbox.expire(now_ns, wall):
                self._expiry_ns = now_ns + _EXPIRY_NS
        except StorageFault as e:
            self._lose(e, now_ns)

    def _next_batch(self, now_ns: int) -> None:
        """A batch whose commit failed goes first and unchanged, so that its records have the same ids."""
        if self._batch:
            return
        self._batch, self._pending, self._pending_bytes = self._pending, [], 0
        if self._untold:
            body = {
                "type": "dropped",
                "cause": "memory",
                "records": self._untold.total(),
                "kinds": dict(self._untold),
            }
            self._batch.append(Draft("gap", now_ns, Priority.EVENT, body))
            self._untold = Counter()

    def _lose(self, fault: StorageFault, now_ns: int) -> None:
        if self.outbox:
            self._note_damage(self.outbox, now_ns)
        self.close()
        self._retry_ns = now_ns + round(self._retry_s * NS_PER_S)
        self._retry_s = min(2 * self._retry_s, _MOST_RETRY_S)
        if self.trouble is None:
            self._say(fault)
        self.trouble = fault

    def _shed(self) -> None:
        """Drop the least worth, the oldest first, until a tenth of the memory is free."""
        dropped = set()
        for at in sorted(range(len(self._pending)), key=lambda i: self._pending[i].priority):
            if self._pending_bytes <= self._memory_bytes * 0.9:
                break
            dropped.add(at)
            self._pending_bytes -= _about_bytes(self._pending[at])
            self._untold[self._pending[at].kind] += 1
            self.dropped[self._pending[at].kind] += 1
        self._pending = [draft for at, draft in enumerate(self._pending) if at not in dropped]


def _about_bytes(draft: Draft) -> int:
    """About what a record will take; raw data is what makes one large."""
    return _ENVELOPE_BYTES + sum(len(v) for v in draft.body.values() if isinstance(v, bytes | str))
