"""The running agent: start, the core's loop, signals, reload, stop, and the watchdog's truth.

The loop runs in the main thread, takes one message after the other from the inbox, hands it to the core with
one `now`, and does what the core asks for. Everything that could wait is in another thread.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgeagent import __version__
from edgeagent.agent import compose
from edgeagent.agent.control import ControlServer
from edgeagent.agent.fit import check
from edgeagent.agent.health import degraded_because
from edgeagent.agent.parts import Parts
from edgeagent.agent.replay import TICK_NS, Journal
from edgeagent.agent.state import Lock, make_folder, run_folder, state_folder, write_status
from edgeagent.agent.threads import Announced, Command, Crashed, Inbox, Message, spawn
from edgeagent.config.load import Loaded, require
from edgeagent.config.schema import Config
from edgeagent.errors import Bug, ConfigFault, Fault
from edgeagent.health.notify import Notifier, watchdog_period_ns
from edgeagent.health.progress import Progress
from edgeagent.pipeline import Arrival, Effects
from edgeagent.records import NS_PER_S, Block, Draft, Priority
from edgeagent.timebase import Clock

log = logging.getLogger(__name__)

_STATUS_NS = NS_PER_S
_ANSWERS_S = 0.7  # how long a stop waits for the models' last answers
_DELIVER_S = 30.0
_CORE_BOUND_S = 5.0


class Job(NamedTuple):
    """What the command line asked of this run."""

    config: Path
    once: bool = False
    for_s: float | None = None
    dry_run: bool = False
    journal: Path | None = None


class Store(Protocol):
    """Where records go: the outbox and its senders, or (`--dry-run`) the terminal."""

    def start(self, inbox: Inbox, progress: Progress) -> None: ...

    def put(self, drafts: Sequence[Draft]) -> None:
        """Never waits."""
        ...

    def reroute(self, config: Config) -> None:
        """The upstreams of a new config."""
        ...

    def deliver(self, patience_s: float) -> bool:
        """Wait until all that was put is delivered; whether it is."""
        ...

    def status(self) -> dict[str, Any]: ...

    def close(self) -> None:
        """Make everything durable and stop."""
        ...


class Agent:
    """One agent, from start to stop.

    Args:
        job: What to do.
        loaded: Its config, checked already.
        store: Where records go.
        clock: Real, or scaled for the demo.
        run: This process start's id.
    """

    def __init__(self, job: Job, loaded: Loaded, store: Store, clock: Clock, run: str) -> None:
        self._job, self._loaded, self._store, self._clock, self._run = job, loaded, store, clock, run
        self._config = require(loaded)
        self._inbox = Inbox()
        self._progress = Progress()
        self._notifier = Notifier()
        self._stopping = self._hurry = False
        self._ready = False
        self._last_error = LastError()
        self._state = state_folder(self._config.state)
        self._run_folder = run_folder(self._state)

    def run(self) -> None:
        """Run until a signal, or until the job is done. Raises Fault if it cannot start, Bug if it is broken."""
        logging.getLogger().addHandler(self._last_error)
        make_folder(self._run_folder)
        lock = Lock(self._run_folder)
        try:
            self._start()
            try:
                self._loop()
            finally:
                self._stop()
        finally:
            lock.release()
            logging.getLogger().removeHandler(self._last_error)

    # --- start ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        now_ns = self._clock.now_ns()
        self._started_ns = self._next_tick_ns = self._next_status_ns = now_ns
        self._next_health_ns = now_ns + round(self._config.health.every * NS_PER_S)
        self._watchdog_ns = watchdog_period_ns()
        self._next_watchdog_ns = now_ns
        self._alive = self._progress.watch("core", _CORE_BOUND_S, now_ns)
        self._journal = Journal(self._job.journal, self._loaded.sha256) if self._job.journal else None
        self._parts = self._make_parts(self._config, None)
        commands = {"status": self.status, "reload": self.reload, "stop": self.stop}
        self._control = ControlServer(self._run_folder / "control.sock", commands, self._inbox)
        self._store.start(self._inbox, self._progress)
        self._parts.start()
        spawn("control", self._control.run, self._inbox)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._inbox.put(Command(self.stop)))
        signal.signal(signal.SIGHUP, lambda *_: self._inbox.put(Command(self._reload_by_signal)))

    def _make_parts(self, config: Config, previous: Parts | None) -> Parts:
        models = compose.bundles(config, self._job.config)
        return Parts(
            config,
            models,
            self._clock,
            self._inbox,
            self._run,
            self._progress,
            previous,
            dry_run=self._job.dry_run,
        )

    # --- the loop -------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping:
            wait_ns = self._next_tick_ns - self._clock.now_ns()
            message = self._inbox.get(self._clock.real_s(wait_ns))
            now_ns = self._clock.now_ns()
            self._alive(now_ns)
            if message is not None:
                self._handle(message, now_ns)
            if now_ns >= self._next_tick_ns:
                self._next_tick_ns = max(self._next_tick_ns + TICK_NS, now_ns)
                self._tick(now_ns)

    def _handle(self, message: Message, now_ns: int) -> None:
        """Hand a message to the core, and do what it asks for. The journal hears of it first."""
        core, journal = self._parts.core, self._journal
        match message:
            case Block():
                if journal:
                    journal.block(message, now_ns)
                self._apply(core.block(message, now_ns))
            case Arrival():
                if journal:
                    journal.arrival(message, now_ns)
                self._apply(core.arrival(message, now_ns))
            case Announced(sensor, layout):
                if journal:
                    journal.layout(sensor, layout, now_ns)
                self._apply(core.layout(sensor, layout, now_ns))
            case Command(run):
                run()
            case Crashed(thread, error):
                raise Bug(f"thread {thread!r} ended by {type(error).__name__}: {error}") from error

    def _tick(self, now_ns: int) -> None:
        if self._journal:
            self._journal.tick(now_ns)
        self._apply(self._parts.core.tick(now_ns))
        self._feed_watchdog(now_ns)
        if now_ns >= self._next_status_ns:
            self._next_status_ns = now_ns + _STATUS_NS
            self._report(now_ns)
        if now_ns >= self._next_health_ns:
            self._next_health_ns = now_ns + round(self._config.health.every * NS_PER_S)
            self._store.put([Draft("health", now_ns, Priority.HEALTH, self._parts.status() | self._vitals())])
        if self._job_done(now_ns):
            self._stopping = True

    def _apply(self, effects: Effects) -> None:
        self._parts.apply(effects)
        if effects.drafts:
            self._store.put(effects.drafts)

    def _job_done(self, now_ns: int) -> bool:
        if self._job.for_s is not None and now_ns - self._started_ns >= self._job.for_s * NS_PER_S:
            return True
        if not self._job.once:
            return False
        predicted = {p for p, last in self._parts.core.counts.last.items() if last.skipped is None}
        waited_ns = now_ns - self._started_ns
        return predicted >= set(self._config.pipelines) or waited_ns >= _DELIVER_S * NS_PER_S

    # --- what the world is told -----------------------------------------------------------------------

    def _report(self, now_ns: int) -> None:
        status = self.status()
        write_status(self._run_folder, status)
        if not self._ready and self._parts.settled:
            self._ready = True
            self._notifier.ready(status["summary"])
        elif self._ready:
            self._notifier.status(status["summary"])

    def _feed_watchdog(self, now_ns: int) -> None:
        if self._watchdog_ns is None or now_ns < self._next_watchdog_ns:
            return
        self._next_watchdog_ns = now_ns + self._watchdog_ns
        alive, why = self._progress.alive(now_ns)
        if alive:
            self._notifier.watchdog()
        else:
            log.error("the watchdog is not fed: %s", why)

    def status(self) -> dict[str, Any]:
        """All that can be asked of the running agent."""
        status = self._vitals() | self._parts.status()
        reasons = degraded_because(status)
        pipelines = status["pipelines"].values()
        state = "stopping" if self._stopping else "degraded" if reasons else "ok"
        summary = (
            f"{state}: {len(status['sensors'])} sensors, {sum(p['windows'] for p in pipelines)} windows, "
            f"{status['outbox'].get('waiting', 0)} records wait"
        )
        return status | {"state": state, "degraded": reasons, "summary": "; ".join([summary, *reasons])}

    def _vitals(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "device": self._config.device.id,
            "run": self._run,
            "pid": os.getpid(),
            "config": str(self._job.config),
            "config_sha256": self._loaded.sha256,
            "uptime_s": round((self._clock.now_ns() - self._started_ns) / NS_PER_S, 1),
            "last_error": self._last_error.text,
        } | self._store.status()

    # --- reload and stop ------------------------------------------------------------------------------

    def stop(self) -> str:
        """End the loop; a second time, do not even wait for delivery."""
        self._hurry = self._stopping
        self._stopping = True
        return "stopping"

    def _reload_by_signal(self) -> None:
        with suppress(Fault):
            self.reload()

    def reload(self) -> str:
        """Check the file and run on with it; a bad one changes nothing and raises ConfigFault with its faults."""
        self._notifier.reloading()
        try:
            config = self._check_again()
        except Fault as fault:
            log.error("reload refused, the agent runs on as it was: %s", fault)
            self._notifier.ready(self.status()["summary"])
            raise
        before_ns = self._clock.now_ns()
        self._swap(config)
        now_ns = self._clock.now_ns()
        body = {"type": "reload", "from_mono_ns": before_ns, "to_mono_ns": now_ns}
        self._store.put([Draft("gap", now_ns, Priority.EVENT, body)])
        log.warning("reloaded %s", self._job.config)
        self._notifier.ready(self.status()["summary"])
        return "reloaded"

    def _check_again(self) -> Config:
        loaded = check(self._job.config)
        config = require(loaded)
        if state_folder(config.state) != self._state or config.device.id != self._config.device.id:
            raise ConfigFault(
                "`state:` and `device.id` cannot change while the agent runs", hint="Restart it instead"
            )
        self._loaded = loaded
        return config

    def _swap(self, config: Config) -> None:
        """New parts for old; records, run and unchanged sensors stay."""
        old = self._parts
        new = self._make_parts(config, old)
        old.all_safe("reload")
        old.stop_readers(successor=new)
        self._store.put(old.core.end(self._clock.now_ns()))
        old.stop_lanes()
        if self._journal:
            log.warning("the journal ends here: a recording is of one config")
            self._journal.close()
            self._journal = None
        self._config, self._parts = config, new
        self._store.reroute(config)
        new.start()

    def _stop(self) -> None:
        """Outputs safe, readers down, the last answers in, everything durable; then, for a job, delivered."""
        self._stopping = True
        self._notifier.stopping()
        self._parts.all_safe("stop")
        self._parts.stop_readers()
        self._take_last_answers()
        self._store.put(self._parts.core.end(self._clock.now_ns()))
        self._parts.stop_lanes()
        if self._journal:
            self._journal.close()
        if self._job.once or self._job.for_s is not None:
            self._deliver()
        self._store.close()
        write_status(self._run_folder, self.status() | {"state": "stopped"})
        self._control.close()
        self._notifier.close()

    def _take_last_answers(self) -> None:
        """What is still in the inbox, and the answers to what was asked."""
        until_ns = self._clock.now_ns() + round(_ANSWERS_S * NS_PER_S * getattr(self._clock, "speed", 1.0))
        while True:
            left_ns = until_ns - self._clock.now_ns() if self._parts.core.waiting else 0
            message = self._inbox.get(min(self._clock.real_s(left_ns), 0.05))
            if isinstance(message, Crashed) or (message is None and left_ns <= 0):
                return
            if message is not None:
                self._handle(message, self._clock.now_ns())

    def _deliver(self) -> None:
        """Wait until the upstreams have everything; a second signal ends the wait."""
        patience_s = _DELIVER_S
        while patience_s > 0 and not self._hurry and not self._store.deliver(0.1):
            patience_s -= 0.1
            while (message := self._inbox.get(0)) is not None:
                if isinstance(message, Command):
                    message.run()


class LastError(logging.Handler):
    """Remembers the last warning or error, for `status`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()
