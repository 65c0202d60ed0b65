"""The only code that starts a thread, and the core's inbox. The loops that run in threads are steps elsewhere:

    readers.py    Reader        one a bus or port    open, read, retry            -> inbox
    lanes.py      Lane          one a model          request -> worker -> arrival -> inbox
    outgoing.py   WriterLoop    one                  drafts -> outbox
                  Sender        one an upstream      outbox -> upstream
    control.py    ControlServer one, and one a caller

The core itself runs in the main thread and takes from the inbox in order of arrival.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from typing import NamedTuple

from edgeagent.agent.clock import RealClock
from edgeagent.pipeline import Arrival
from edgeagent.records import NS_PER_S, Block, Layout

INBOX_BLOCKS = 1000


class Announced(NamedTuple):
    """A sensor's layout, before its first block and at each change."""

    sensor: str
    layout: Layout


class Command(NamedTuple):
    """Something for the core's thread to run: a signal, a request of the control socket."""

    run: Callable[[], object]


class Crashed(NamedTuple):
    """A thread ended by an exception that nobody expected: our bug."""

    thread: str
    error: BaseException


Message = Block | Announced | Arrival | Command | Crashed


class Inbox:
    """The core's one queue. Blocks are bounded; the rest is bounded by what may be under way."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Never waits; may be called by a signal handler."""
        self._queue.put(message)

    def offer(self, block: Block) -> bool:
        """Whether there was room. A block that is turned away is the reader's to count as lost."""
        if self._queue.qsize() >= INBOX_BLOCKS:
            return False
        self._queue.put(block)
        return True

    def get(self, timeout_s: float) -> Message | None:
        """The next message, or None after `timeout_s` real seconds."""
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None


def spawn(name: str, target: Callable[[], None], inbox: Inbox) -> threading.Thread:
    """Start a thread; if it ends by an exception, the core is told and stops the agent."""

    def guarded() -> None:
        try:
            target()
        except BaseException as e:
            inbox.put(Crashed(name, e))

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def join_all(threads: Collection[threading.Thread], patience_s: float) -> None:
    """Wait for threads to end, `patience_s` real seconds for all of them together."""
    clock = RealClock()
    until_ns = clock.now_ns() + round(patience_s * NS_PER_S)
    for thread in threads:
        thread.join(max(clock.real_s(until_ns - clock.now_ns()), 0.0))
