"""The way out: the thread that owns the outbox, and a sender's thread an upstream.

The senders take and settle through the writer's queue, so that one connection sees everything in one order and
a record is sent only once it is durable. The core puts drafts into the same queue and never waits.
"""

from __future__ import annotations

import logging
import queue
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoReply
from contextlib import suppress
from functools import partial
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.desk import request, serve
from edgeagent.agent.state import state_folder
from edgeagent.agent.threads import Inbox, join_all, spawn
from edgeagent.config.hours import Hours, parse_hours
from edgeagent.config.parts import find
from edgeagent.config.schema import Config, LinkBudget
from edgeagent.errors import Fault, StorageFault, UpstreamFault
from edgeagent.health.progress import Progress
from edgeagent.outbox.counts import Counters
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.pace import Pace, Reading, written_bytes
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Kind, Priority
from edgeagent.timebase import Clock, boot_id
from edgeagent.upstream import Sink
from edgeagent.upstream.link import Link
from edgeagent.upstream.suspects import Suspects
from edgeagent.upstream.sync import pause_s, sync_once

log = logging.getLogger(__name__)
T = TypeVar("T")

_ROUND_S = 1.0  # how often an idle writer comes round
_REPLY_S = 30.0  # how long a sender waits for the writer
_WRITER_BOUND_S = 60.0  # a dying SD card may take this long over one sync
_IDLE_NS = 20 * NS_PER_S  # an idle sender tends its connection so often; the writer wakes it for records
_HELD_S = 60.0  # out of its hours a sender looks at the clock so often: it may be set meanwhile
_JOIN_S = 0.3


class _Call(NamedTuple):
    """Something for the writer's thread to do with the outbox."""

    do: Callable[[Outbox], Any]
    reply: Future[Any]


class WriterLoop:
    """The queue in front of the outbox's writer, and the body of its thread."""

    def __init__(
        self, writer: Writer, clock: Clock, committed: Callable[[], None], card_per_day_bytes: int = 0
    ) -> None:
        self._writer, self._clock, self._committed = writer, clock, committed
        self._card_per_day_bytes = card_per_day_bytes
        self._queue: queue.SimpleQueue[Sequence[Draft] | _Call | None] = queue.SimpleQueue()
        self._put = self._taken = self._waiting = self._damage_told = 0
        self.counters: Counters | None = None
        """The outbox's, as the last step left them."""
        self.pace = Pace()

    def put(self, drafts: Sequence[Draft]) -> None:
        """Never waits."""
        self._put += len(drafts)
        self._queue.put(drafts)

    def ask(self, do: Callable[[Outbox], T]) -> T:
        """Do something with the outbox in the writer's thread, and wait. Raises StorageFault."""
        reply = self.tell(do)
        try:
            return reply.result(_REPLY_S)
        except NoReply as e:
            raise StorageFault(f"the outbox has not answered for {_REPLY_S:g} s") from e

    def tell(self, do: Callable[[Outbox], T]) -> Future[T]:
        """The same without waiting."""
        reply: Future[T] = Future()
        self._queue.put(_Call(do, reply))
        return reply

    def stop(self) -> None:
        self._queue.put(None)

    @property
    def unwritten(self) -> int:
        """Drafts that are not durable and counted yet: in the queue, or with the writer."""
        return self._put - self._taken + self._waiting

    def run(self, alive: Callable[[int], None]) -> None:
        """Until `stop`; what was put before that is made durable."""
        stopping = False
        while not stopping:
            now_ns = self._clock.now_ns()
            alive(now_ns)
            self._step(now_ns)
            try:
                item = self._queue.get(timeout=self._wait_s())
            except queue.Empty:
                continue
            match item:
                case None:
                    stopping = True
                case _Call():
                    self._reply(item)
                case _:
                    self._writer.put(item, self._clock.now_ns())
                    self._waiting = self._writer.waiting
                    self._taken += len(item)
        self._writer.flush(self._clock.now_ns(), self._clock.wall())
        self._count()
        self._writer.close()

    def _wait_s(self) -> float:
        """Until the writer has something to do, in real seconds."""
        due_ns = self._writer.due_ns()
        if due_ns is None:
            return _ROUND_S
        return min(max(self._clock.real_s(due_ns - self._clock.now_ns()), 0.0), _ROUND_S)

    def _reply(self, call: _Call) -> None:
        try:
            call.reply.set_result(self._writer.use(call.do, self._clock.now_ns()))
        except StorageFault as fault:
            call.reply.set_exception(fault)

    def _step(self, now_ns: int) -> None:
        if self._writer.outbox is not None and not self._queue.empty():
            return  # what came together is committed together
        before = self._writer.waiting
        self._writer.step(now_ns, self._clock.wall())
        self._tell_damage()
        self._count()
        if before and not self._writer.waiting:
            self._committed()

    def _tell_damage(self) -> None:
        for aside in self._writer.set_aside[self._damage_told :]:
            self._damage_told += 1
            log.error("%s", aside)

    def _count(self) -> None:
        now_ns = self._clock.now_ns()
        with suppress(StorageFault):  # the writer has noted it
            self.counters = self._writer.use(Outbox.counters, now_ns)
        self._waiting = self._writer.waiting  # not before the counters know of what was committed
        self.pace.note(Reading(now_ns, self._writer.queued_bytes, written_bytes()))
        if self._card_per_day_bytes:
            self._writer.sparing = self.pace.is_over(self._card_per_day_bytes)


class Sender:
    """One upstream's loop around `sync_once`. `only` are the hours in which it may send, `budget` is its link's."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        loop: WriterLoop,
        clock: Clock,
        boot: str,
        only: Hours | None = None,
        budget: LinkBudget | None = None,
    ) -> None:
        self.name, self.sink = name, sink
        self._loop, self._clock, self._boot_id = loop, clock, boot
        self._suspects = Suspects()
        self._taken: Mapping[int, bytes] = {}
        self._wake = Event()
        self._stop = False
        self._only, self._budget = only, budget or LinkBudget()
        self._link: Link | None = None
        self._counted_bytes = self._began_ns = 0
        self._shut = False
        self.trouble = ""
        self.held = ""
        """Why nothing is sent although nothing is wrong."""
        self._since_ns = 0

    # The outbox, through the writer's thread: what `sync_once` needs of a queue.

    def take(self, upstream: str, max_records: int, max_bytes: int, least: Priority) -> Mapping[int, bytes]:
        """What is asked for just before a reload took the upstream away is nothing."""
        bounds = max_records, max_bytes, least
        self._taken = self._loop.ask(
            lambda outbox: {} if self._stop else self._suspects.take(outbox, upstream, *bounds)
        )
        return self._taken

    def settle(
        self, upstream: str, accepted: Collection[int], rejected: Mapping[int, str], kept: Collection[int]
    ) -> None:
        """With it is counted what went over the link."""
        link, now_ns = self._known_link(), self._clock.now_ns()
        sent_bytes = self.sink.bytes_sent - self._counted_bytes
        self._counted_bytes += sent_bytes
        month = link.sent(sent_bytes, now_ns - self._began_ns, now_ns, self._clock.wall())

        def write(outbox: Outbox) -> None:
            outbox.note_sent(upstream, month, sent_bytes)
            outbox.settle(upstream, accepted, rejected, kept)

        self._loop.ask(write)

    def run(self) -> None:
        while not self._stop:
            pause_s = self.step()
            if pause_s is None:
                continue
            until_ns = self._clock.now_ns() + round(pause_s * NS_PER_S)
            self._clock.wait(self._wake, until_ns)
            self._wake.clear()
        self.sink.close()

    def step(self) -> float | None:
        """Send once; how long to pause, or None if there may be more."""
        self._shut = (closed_s := self._closed_s()) > 0
        if self._shut:
            self.sink.close()
            return closed_s
        try:
            return self._send(self._known_link())
        except StorageFault:
            return _ROUND_S  # not the upstream's fault, and the writer has told it

    def _send(self, link: Link) -> float | None:
        """As much as the link allows. Raises StorageFault."""
        self._began_ns = self._clock.now_ns()
        allowed = link.allowance(self._began_ns, self._clock.wall())
        self.held, self._shut = self.held or allowed.why, bool(allowed.pause_s)
        if self._shut:
            return allowed.pause_s
        probed = False
        try:
            if self.trouble:
                self.sink.send({})  # one small question; then full batches at once
                probed = True
            report = sync_once(self.name, self, self.sink, self._boot_id, self._clock.wall(), allowed.limits)
            if not report.sent:
                self.sink.idle()
        except UpstreamFault as fault:
            if probed:  # it is there, and the batch was too much for it
                link.failed()
                if fault.may_be_a_record:
                    self._suspects.failed(self._taken.values(), fault.what)
            self._failed(fault)
            return fault.retry_after_s + pause_s(self._away_s(), random.random)
        link.worked(report.bytes_sent, report.bytes_settled, self._clock.now_ns() - self._began_ns)
        if report.accepted:
            self._suspects.worked()
        self._worked()
        return None if report.sent else _IDLE_NS / NS_PER_S

    def _known_link(self) -> Link:
        """The outbox knows what was sent before this start. Raises StorageFault."""
        if self._link is None:
            sent_bytes = self._loop.ask(lambda outbox: outbox.sent_bytes(self.name))
            self._link = Link(self._budget.per_month, self._budget.per_second, sent_bytes)
        return self._link

    def sent(self) -> dict[str, int]:
        """For the status: bytes since the outbox was begun, of this month, and what its budget is (0: none)."""
        link = self._link or Link(0, 0, {})
        month = link.month(self._clock.now_ns(), self._clock.wall())
        return {
            "bytes_sent": sum(link.sent_bytes.values()),
            "bytes_this_month": link.sent_bytes.get(month, 0),
            "budget_bytes": self._budget.per_month,
        }

    def _closed_s(self) -> float:
        """How long nothing may be sent, as far as can be said now; `held` says why."""
        self.held = ""
        if self._only is None:
            return 0.0
        wall = self._clock.wall()
        if not wall.synced:
            self.held = "waits for the clock to be set, to know the hour"
            return _HELD_S
        opens_in_s = self._only.opens_in_s((self._clock.now_ns() + wall.offset_ns) / NS_PER_S)
        if opens_in_s:
            self.held = (
                f"waits for its hours, which begin in {opens_in_s // 3600} h {opens_in_s // 60 % 60} min"
            )
        return min(opens_in_s, _HELD_S)

    def kick(self) -> None:
        """There is something to send; while the upstream is away, its back-off decides, and out of hours the clock."""
        if not self.trouble and not self._shut:
            self._wake.set()

    def hurry(self) -> None:
        """Try now, whatever the back-off says."""
        self._wake.set()

    def stop(self) -> None:
        self._stop = True
        self._wake.set()

    def _failed(self, fault: Fault) -> None:
        if not self.trouble:
            self._since_ns = self._clock.now_ns()
            log.warning("upstream %s is away: %s", self.name, fault)
        self.trouble = str(fault)

    def _worked(self) -> None:
        if self.trouble:
            log.info("upstream %s is back after %.1f s", self.name, self._away_s())
            self.trouble = ""

    def _away_s(self) -> float:
        return (self._clock.now_ns() - self._since_ns) / NS_PER_S


class Outgoing:
    """The `Store` of a real run: writer, outbox, senders. Raises ConfigFault if an upstream cannot be made."""

    def __init__(self, config: Config, clock: RealClock, run: str) -> None:
        self._config, self._clock, self._run = config, clock, run
        self._boot_id = boot_id()
        self._writer = Writer(self._open, config.outbox.flush, say=_say)
        self._loop = WriterLoop(self._writer, clock, self._kick, config.outbox.card_per_day)
        self._senders = self._make_senders(config)
        self._threads: list[Thread] = []

    def start(self, inbox: Inbox, progress: Progress) -> None:
        self._inbox = inbox
        made = progress.watch("writer", _WRITER_BOUND_S, self._clock.now_ns())
        self._writer_thread = spawn("writer", partial(self._loop.run, made), inbox)
        self._start_senders()

    def put(self, drafts: Sequence[Draft]) -> None:
        self._loop.put(drafts)

    def reroute(self, config: Config) -> Callable[[], None]:
        senders = self._make_senders(config)

        def change_over() -> None:
            """Waits for nobody: what the old senders have under way, they settle with the outbox themselves."""
            for sender in self._senders.values():
                sender.stop()
            self._config, self._senders = config, senders
            routes, newest = _routes(config), _newest(config)
            self._loop.tell(
                lambda outbox: outbox.route(routes, newest)
            )  # an outbox that is not open will ask for them
            self._start_senders()

        return change_over

    def hurry(self) -> None:
        for sender in self._senders.values():
            sender.hurry()

    def delivered(self) -> bool:
        counters = self._loop.counters
        if counters is None or self._loop.unwritten:
            return False
        return not any(counters.by_upstream.get(name, {}).get("waiting") for name in self._senders)

    def status(self) -> dict[str, Any]:
        counters = self._loop.counters
        trouble = str(self._writer.trouble) if self._writer.trouble else ""
        outbox = (msgspec.structs.asdict(counters) if counters else {}) | {
            "trouble": trouble,
            "unwritten": self._loop.unwritten,
            "sparing": self._writer.sparing,
            "dropped": dict(self._writer.dropped),
            "set_aside": [f"{aside.path}: {aside.reason}" for aside in self._writer.set_aside],
        }
        by_upstream = outbox.pop("by_upstream", {})
        none = {"delivered": 0, "waiting": 0, "rejected": 0, "evicted": 0}
        upstream = {
            name: none | by_upstream.get(name, {}) | {"trouble": s.trouble, "held": s.held} | s.sent()
            for name, s in self._senders.items()
        }
        return {"outbox": outbox, "upstream": upstream}

    def close(self) -> None:
        """A sender that is under way for longer than a moment is left: what it sends comes again, and counts once."""
        for sender in self._senders.values():
            sender.stop()
        join_all(self._threads, _JOIN_S)
        self._loop.stop()
        self._writer_thread.join()
        if lost := self._loop.unwritten:
            log.error("%d records could not be made durable and are lost: %s", lost, self._writer.trouble)

    def desk(self, do: str, **arguments: Any) -> Any:
        """What the command line asks about the outbox; what takes longer is a Future. Raises Fault."""
        if do == "status":
            pace = self._loop.pace.per_day()
            return self.status()["outbox"] | {"per_day": pace._asdict() if pace else None}
        asked = request(do, arguments)
        return self._loop.tell(lambda outbox: serve(outbox, asked, self._clock.now_ns(), self._clock.wall()))

    def _open(self, first_seq: int) -> Outbox:
        return open_outbox(self._config, self._run, first_seq)

    def _make_senders(self, config: Config) -> dict[str, Sender]:
        """An upstream each, nothing opened yet."""
        senders = {}
        for name, entry in config.upstream.items():
            sink = find("upstream", entry.part.file).build(name, entry.part.options, config.device.id)
            only = parse_hours(entry.only) if entry.only is not None else None
            senders[name] = Sender(name, sink, self._loop, self._clock, self._boot_id, only, entry.budget)
        return senders

    def _start_senders(self) -> None:
        self._threads = [spawn(f"sender {name}", s.run, self._inbox) for name, s in self._senders.items()]

    def _kick(self) -> None:
        for sender in self._senders.values():
            sender.kick()


def open_outbox(config: Config, run: str, first_seq: int) -> Outbox:
    """A config's outbox. Raises StorageFault."""
    return Outbox(
        state_folder(config.state) / "outbox",
        config.device.id,
        run,
        boot_id(),
        _routes(config),
        newest=_newest(config),
        max_bytes=config.outbox.max_size,
        keep_free_bytes=config.outbox.keep_free,
        expire_s={kind: s for kind in get_args(Kind) if (s := getattr(config.outbox.expire, kind))},
        first_seq=first_seq,
    )


def _routes(config: Config) -> dict[str, frozenset[Any]]:
    return {name: frozenset(entry.kinds) for name, entry in config.upstream.items()}


def _newest(config: Config) -> dict[str, frozenset[Any]]:
    return {name: frozenset(entry.newest_first) for name, entry in config.upstream.items()}


def _say(fault: StorageFault | None) -> None:
    if fault is None:
        log.info("the outbox can be written again")
    else:
        log.error("the outbox cannot be written, records wait in memory: %s", fault)
