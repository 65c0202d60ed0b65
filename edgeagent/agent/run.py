"""The running agent: start, the core's loop, signals, reload, stop, and the watchdog's truth.

The loop runs in the main thread, takes one message after the other from the inbox, hands it to the core with
one `now`, and does what the core asks for. Everything that could wait is in another thread.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Protocol

import msgspec

from edgeagent import __version__
from edgeagent.agent import compose
from edgeagent.agent.calibrating import Calibrator, Keep, request
from edgeagent.agent.clock import RealClock
from edgeagent.agent.control import Commands, ControlServer
from edgeagent.agent.fit import check, load_model
from edgeagent.agent.health import degraded_because
from edgeagent.agent.parts import Parts
from edgeagent.agent.replay import TICK_NS, Journal
from edgeagent.agent.reporting import Reporter
from edgeagent.agent.state import Lock, SpentBytes, make_folder, run_folder, state_folder
from edgeagent.agent.swapper import Swapper
from edgeagent.agent.swaps import Swaps
from edgeagent.agent.threads import Announced, Command, Crashed, Inbox, Message, spawn
from edgeagent.config.load import Loaded, require
from edgeagent.config.schema import Config
from edgeagent.errors import Bug, ConfigFault, Fault
from edgeagent.health.progress import Progress
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.calibration import calibrated, calibration_folder
from edgeagent.joined import sensors_of
from edgeagent.pipeline import Arrival, Effects
from edgeagent.records import NS_PER_S, Block, Draft, Priority

log = logging.getLogger(__name__)

_ONCE_NS = 30 * NS_PER_S
_ANSWERS_S = 0.4  # how long a stop waits for the models' last answers; this and the next in real seconds
_DELIVER_S = 30.0
_HURRY_EVERY = 10
_ROUND_S = 0.1


class Job(NamedTuple):
    """What the command line asked of this run."""

    config: Path
    once: bool = False
    for_s: float | None = None
    dry_run: bool = False
    journal: Path | None = None

    @property
    def ends(self) -> bool:
        """Whether it ends by itself, and then waits until what it made is delivered."""
        return self.once or self.for_s is not None


class Store(Protocol):
    """Where records go: the outbox and its senders, or (`--dry-run`) the terminal."""

    def start(self, inbox: Inbox, progress: Progress) -> None: ...

    def put(self, drafts: Sequence[Draft]) -> None:
        """Never waits."""
        ...

    def reroute(self, config: Config) -> Callable[[], None]:
        """Make the upstreams of a new config; what comes back changes over to them, and never waits or raises.

        Raises ConfigFault.
        """
        ...

    def hurry(self) -> None:
        """Try to deliver now, however often that has failed."""
        ...

    def delivered(self) -> bool:
        """Whether all that was put is delivered."""
        ...

    def status(self) -> dict[str, Any]: ...

    def desk(self, do: str, **arguments: Any) -> Any:
        """Answer a request about what is stored, or begin to (a Future). Raises Fault."""
        ...

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

    def __init__(self, job: Job, loaded: Loaded, store: Store, clock: RealClock, run: str) -> None:
        self._job, self._loaded, self._store, self._clock, self._run = job, loaded, store, clock, run
        self._config = require(loaded)
        self._inbox = Inbox()
        self._progress = Progress()
        self._stopping = self._hurry = False
        self._changing: Thread | None = None  # a reload or a swap: one comes after the other
        self._last_error = LastError()
        self._state = state_folder(self._config.state)
        self._run_folder = run_folder(self._state)

    def run(self) -> bool:
        """Run until a signal, or until the job is done; whether it was, as far as it was asked for.

        Raises Fault if it cannot start, Bug if it is broken. However it ends: the outputs go safe, then what the
        pipeline made becomes durable.
        """
        with ExitStack() as closing:
            logging.getLogger().addHandler(self._last_error)
            closing.callback(logging.getLogger().removeHandler, self._last_error)
            make_folder(self._state)
            make_folder(self._run_folder)
            closing.callback(Lock(self._state).release)
            self._start(closing)
            self._loop()
            self._finish()
        return not self._job.once or not self._unpredicted()

    # --- start ----------------------------------------------------------------------------------------

    def _start(self, closing: ExitStack) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._inbox.put(Command(self.stop)))
        signal.signal(signal.SIGHUP, lambda *_: self._inbox.put(Command(self.reload)))
        now_ns = self._clock.now_ns()
        self._started_ns = self._next_tick_ns = now_ns
        self._next_health_ns = now_ns + self._health_period_ns
        self._spent = SpentBytes(self._state)
        self._swaps, calibrations = Swaps(self._state), calibration_folder(self._state)
        self._swapper = Swapper(
            self._swaps,
            lambda: self._parts,
            self._own_bundle,
            lambda bundle: calibrated(bundle, calibrations),
            self._tell_change,
            self._inbox,
        )
        self._calibrator = Calibrator(
            calibrations, lambda: self._parts, self._tell_change, self._clock, self._inbox
        )
        self._parts = self._make_parts(
            self._config, compose.bundles(self._config, self._job.config, self._swaps), previous=None
        )
        self._journal = Journal(self._job.journal, self._loaded.sha256) if self._job.journal else None
        commands: Commands = {
            "status": self.status,
            "reload": self.reload,
            "stop": self.stop,
            "swap": self.swap,
            "rollback": self.rollback,
            "calibrate": self.calibrate,
            "outbox": self._store.desk,
        }
        control = ControlServer(self._run_folder / "control.sock", commands, self._inbox)
        closing.callback(control.close)
        self._reporter = Reporter(self._run_folder, self._progress, self.status, now_ns)
        closing.callback(self._reporter.close)
        self._store.start(self._inbox, self._progress)
        closing.callback(self._store.close)
        closing.callback(self._close_parts)
        self._parts.start()
        spawn("control", control.run, self._inbox)

    def _make_parts(self, config: Config, models: dict[str, Bundle], previous: Parts | None) -> Parts:
        return Parts(
            config,
            models,
            self._clock,
            self._inbox,
            self._run,
            self._progress,
            previous,
            spent_bytes=self._spent.value,
            dry_run=self._job.dry_run,
        )

    # --- the loop -------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping:
            wait_ns = self._next_tick_ns - self._clock.now_ns()
            message = self._inbox.get(self._clock.real_s(wait_ns))
            now_ns = self._clock.now_ns()
            if message is not None:
                self._handle(message, now_ns)
            if now_ns >= self._next_tick_ns:
                self._next_tick_ns = max(self._next_tick_ns + TICK_NS, now_ns)
                self._tick(now_ns)

    def _handle(self, message: Message, now_ns: int) -> None:
        """Hand a message to the core, and do what it asks for. The journal hears of it first."""
        core = self._parts.core
        if self._journal:
            self._journal.note(message, now_ns)
        match message:
            case Block():
                self._apply(core.block(message, now_ns))
            case Arrival():
                self._calibrator.hear(message, now_ns)
                self._apply(core.arrival(message, now_ns))
            case Announced(sensor, layout):
                self._apply(core.layout(sensor, layout, now_ns))
                self._tell_unfit(sensor)
            case Command(run):
                run()
            case Crashed(thread, error):
                raise Bug(f"thread {thread!r} ended by {type(error).__name__}: {error}") from error

    def _tell_unfit(self, sensor: str) -> None:
        for name, why in self._parts.core.unfit.items():
            if name == sensor:
                log.warning("sensor %s is not used: %s", name, why)
            elif sensor in sensors_of(self._config.pipelines[name].inputs):
                log.warning("pipeline %s stands still: %s", name, why)

    def _tick(self, now_ns: int) -> None:
        if self._journal:
            self._journal.tick(now_ns)
        self._apply(self._parts.core.tick(now_ns))
        if self._reporter.tick(now_ns, settled=self._parts.settled):
            self._remember_spent()
        if now_ns >= self._next_health_ns:
            self._next_health_ns = now_ns + self._health_period_ns
            self._store.put([Draft("health", now_ns, Priority.HEALTH, self.status())])
        if self._job_done(now_ns):
            self._stopping = True

    def _apply(self, effects: Effects) -> None:
        self._parts.apply(effects)
        if effects.drafts:
            self._store.put(effects.drafts)

    def _job_done(self, now_ns: int) -> bool:
        ran_ns = now_ns - self._started_ns
        if self._job.for_s is not None and ran_ns >= self._job.for_s * NS_PER_S:
            return True
        return self._job.once and (not self._unpredicted() or ran_ns >= _ONCE_NS)

    def _unpredicted(self) -> list[str]:
        """The pipelines whose model has said nothing yet; of one without a model, those that have closed no window."""
        counts = self._parts.core.counts
        said = {name for name, last in counts.last.items() if last.skipped is None}
        return [
            name
            for name, pipeline in self._config.pipelines.items()
            if (name not in said if pipeline.model else not counts.windows[name])
        ]

    @property
    def _health_period_ns(self) -> int:
        return round(self._config.health.every * NS_PER_S)

    # --- what can be asked ----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """All that can be asked of the running agent."""
        status: dict[str, Any] = {
            "version": __version__,
            "device": self._config.device.id,
            "run": self._run,
            "pid": os.getpid(),
            "config": str(self._job.config.absolute()),
            "config_sha256": self._loaded.sha256,
            "uptime_s": round((self._clock.now_ns() - self._started_ns) / NS_PER_S, 1),
            "clock": self._clock_status(),
            "last_error": self._last_error.text,
        }
        status |= self._store.status() | self._parts.status()
        for key, model in status["models"].items():
            model["previous"] = self._swaps.before(key, self._config.models[key].bundle)
            model["calibrated"] = msgspec.to_builtins(self._parts.models[key].calibration)
        reasons = degraded_because(status)
        state = "stopping" if self._stopping else "degraded" if reasons else "ok"
        summary = (
            f"{state}: {len(status['sensors'])} sensors, "
            f"{sum(p['windows'] for p in status['pipelines'].values())} windows, "
            f"{status['outbox'].get('waiting', 0)} records wait"
        )
        return status | {"state": state, "degraded": reasons, "summary": "; ".join([summary, *reasons])}

    def _clock_status(self) -> dict[str, Any]:
        """Whether records get their time at once, and from whom."""
        wall = self._clock.wall()
        return {"synced": wall.synced, "from": wall.source if wall.synced else None}

    # --- reload ---------------------------------------------------------------------------------------

    def reload(self) -> Future[str]:
        """Check the file and run on with it; a bad one changes nothing, and the answer is a Fault with all of its.

        On a slow card that takes a second, in which the rules would miss their inputs: so a thread does it.
        """
        reply: Future[str] = Future()
        self._reporter.reloading()
        self._changing = spawn("reload", partial(self._prepare, self._changing, reply), self._inbox)
        return reply

    def _prepare(self, before: Thread | None, reply: Future[str]) -> None:
        """In a thread of its own: all that reads files. Two reloads come one after the other."""
        if before is not None:
            before.join()
        try:
            loaded = check(self._job.config)
            config = self._accept(require(loaded))
            models = compose.bundles(config, self._job.config, self._swaps)
        except Fault as fault:
            self._inbox.put(Command(partial(self._refuse, fault, reply)))
        else:
            self._inbox.put(Command(partial(self._adopt, loaded, config, models, reply)))

    def _accept(self, config: Config) -> Config:
        if state_folder(config.state) != self._state or config.device.id != self._config.device.id:
            raise ConfigFault(
                "`state:` and `device.id` cannot change while the agent runs", hint="Restart it instead"
            )
        return config

    def _refuse(self, fault: Fault, reply: Future[str]) -> None:
        log.error("reload refused, the agent runs on as it was: %s", fault)
        self._reporter.refused()
        reply.set_exception(fault)

    def _adopt(self, loaded: Loaded, config: Config, models: dict[str, Bundle], reply: Future[str]) -> None:
        """Make all that can still fail, then change over."""
        if self._stopping:
            self._refuse(Fault("the agent is stopping"), reply)
            return
        try:
            parts = self._make_parts(config, models, self._parts)
            reroute = self._store.reroute(config)
        except Fault as fault:
            self._refuse(fault, reply)
            return
        if config.outbox != self._config.outbox:
            log.warning("what `outbox:` says from now on takes effect at the next start")
        self._loaded = loaded
        self._change_to(config, parts, reroute)
        self._reporter.reloaded()
        log.info("reloaded %s", self._job.config)
        reply.set_result("reloaded")

    def _change_to(self, config: Config, parts: Parts, reroute: Callable[[], None]) -> None:
        """New parts for old; records, run and unchanged sensors stay."""
        began_ns = self._clock.now_ns()
        old = self._parts
        self._store.put(old.core.end(began_ns))
        old.hand_over(parts)
        self._end_journal()
        self._config, self._parts = config, parts
        reroute()
        parts.start()
        now_ns = self._clock.now_ns()
        self._next_health_ns = min(self._next_health_ns, now_ns + self._health_period_ns)
        body = {"type": "reload", "from_mono_ns": began_ns, "to_mono_ns": now_ns}
        self._store.put([Draft("gap", now_ns, Priority.EVENT, body)])

    def _end_journal(self) -> None:
        if self._journal:
            log.warning("the journal ends here: a recording is of one config and its models")
            self._journal.close()
            self._journal = None

    # --- another model --------------------------------------------------------------------------------

    def swap(self, model: str, bundle: str) -> Future[str]:
        """Let another bundle, a folder or an archive, serve for a model; it is loaded and proved beside the old one."""
        return self._exchange(partial(self._swapper.swap, model, Path(bundle)))

    def rollback(self, model: str) -> Future[str]:
        """Let the bundle that served before the last swap serve again, likewise."""
        return self._exchange(partial(self._swapper.rollback, model))

    def calibrate(self, do: str, **arguments: Any) -> Any:
        """Listen to a model's errors, say what was heard, or let another threshold hold."""
        asked = request(do, arguments)
        if isinstance(asked, Keep):
            return self._exchange(partial(self._calibrator.keep, asked))
        return self._calibrator.answer(asked)

    def _exchange(self, work: Callable[[], str]) -> Future[str]:
        reply: Future[str] = Future()

        def run(before: Thread | None = self._changing) -> None:
            if before is not None:
                before.join()
            try:
                reply.set_result(work())
            except Fault as fault:
                reply.set_exception(fault)

        self._changing = spawn("swap", run, self._inbox)
        return reply

    def _own_bundle(self, model: str) -> Bundle:
        return load_model(self._config.models[model], self._config, self._job.config)

    def _tell_change(self, body: dict[str, Any]) -> None:
        self._store.put([Draft("audit", self._clock.now_ns(), Priority.EVENT, body)])
        if body["outcome"] == "done":
            self._end_journal()

    # --- stop -----------------------------------------------------------------------------------------

    def stop(self) -> str:
        """End the loop; once more, do not even wait for delivery."""
        self._hurry = self._stopping
        self._stopping = True
        return "stopping"

    def _finish(self) -> None:
        """The sound end: outputs safe, readers down, the last answers in; for a job, delivered."""
        self._reporter.stopping()
        self._parts.release("stop")
        self._parts.stop_readers()
        self._take_last_answers()
        self._store.put(self._parts.core.end(self._clock.now_ns()))
        if self._journal:
            self._journal.close()
        if unpredicted := self._unpredicted() if self._job.once else []:
            log.warning("no prediction of %s; %s", ", ".join(unpredicted), self.status()["summary"])
        if self._job.ends:
            self._deliver()

    def _take_last_answers(self) -> None:
        """What is still in the inbox, and the answers to what was asked."""
        until_ns = self._clock.now_ns() + self._real_ns(_ANSWERS_S)
        while True:
            left_ns = until_ns - self._clock.now_ns() if self._parts.core.waiting else 0
            message = self._inbox.get(min(self._clock.real_s(left_ns), _ROUND_S))
            if message is not None:
                self._handle(message, self._clock.now_ns())
            elif left_ns <= 0:
                return

    def _deliver(self) -> None:
        """Wait until the upstreams have everything; one more signal ends the wait."""
        until_ns, rounds = self._clock.now_ns() + self._real_ns(_DELIVER_S), 0
        while not self._hurry and not self._store.delivered():
            if self._clock.now_ns() >= until_ns:
                log.warning("not all is delivered: the rest is sent at the next start")
                return
            if rounds % _HURRY_EVERY == 0:
                self._store.hurry()
            rounds += 1
            if (message := self._inbox.get(_ROUND_S)) is not None:
                self._handle(message, self._clock.now_ns())

    def _real_ns(self, seconds: float) -> int:
        """Real seconds in ns of a clock that may be scaled."""
        return round(seconds * NS_PER_S * self._clock.speed)

    def _close_parts(self) -> None:
        """All but the models is down already, unless it is a bug that ends us."""
        self._parts.release("stop")
        self._parts.stop_readers()
        self._parts.close()
        self._remember_spent()

    def _remember_spent(self) -> None:
        if not self._job.dry_run:
            self._spent.remember(self._parts.spent_bytes)


class LastError(logging.Handler):
    """Remembers the last warning or error, for `status`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()
