"""Changing a model while the agent runs: the new one is loaded and proved beside the old, which serves until then.

All of it is done in a thread of its own, as a reload is; what concerns the core is done by the core's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from edgeagent.agent.swaps import Served, Swap, Swaps, must_be_alike
from edgeagent.agent.threads import Command, Inbox
from edgeagent.config.schema import Config
from edgeagent.errors import Fault
from edgeagent.inference import Engine
from edgeagent.inference.bundle import Bundle, load_bundle

log = logging.getLogger(__name__)

Deed = Literal["swap", "rollback"]
T = TypeVar("T")


class Board(Protocol):
    """What runs."""

    config: Config
    models: dict[str, Bundle]
    """What serves, by the model's key."""

    def engine_beside(self, key: str, bundle: Bundle) -> Engine:
        """Another engine for a model, not started."""
        ...

    def switch(self, key: str, bundle: Bundle, engine: Engine) -> Future[None]:
        """Let it serve from the next request on; done when it does. In the core's thread."""
        ...


class Swapper:
    """Swaps and rollbacks; the caller sees to it that they come one after the other, and none beside a reload.

    Args:
        swaps: What has been swapped before.
        board: What runs now. In the core's thread.
        own: The config's own bundle of a model. Raises BundleFault.
        calibrated: A bundle with the threshold of this device. Raises BundleFault.
        tell: Takes the body of an audit record. In the core's thread.
        inbox: The way to that.
    """

    def __init__(
        self,
        swaps: Swaps,
        board: Callable[[], Board],
        own: Callable[[str], Bundle],
        calibrated: Callable[[Bundle], Bundle],
        tell: Callable[[dict[str, Any]], None],
        inbox: Inbox,
    ) -> None:
        self._swaps, self._board, self._own, self._calibrated = swaps, board, own, calibrated
        self._tell, self._inbox = tell, inbox

    def swap(self, key: str, source: Path) -> str:
        """Let the bundle in a folder or an archive serve for a model. Raises Fault; then the old one serves on."""
        return self._audited("swap", key, lambda board: self._swap(board, key, source))

    def rollback(self, key: str) -> str:
        """Let that bundle serve that did before the last swap. Raises Fault; then the new one serves on."""
        return self._audited("rollback", key, lambda board: self._rollback(board, key))

    def _swap(self, board: Board, key: str, source: Path) -> str:
        old, configured = board.models[key], board.config.models[key].bundle
        last = self._swaps.of(key, configured)
        before = last.now if last is not None else Served("", old.name, old.version)
        with self._swaps.copied(source) as served:
            new = self._calibrated(load_bundle(self._swaps.folder(served)))
            return self._exchange("swap", board, key, new, Swap(configured, served, before))

    def _rollback(self, board: Board, key: str) -> str:
        configured = board.config.models[key].bundle
        last = self._swaps.of(key, configured)
        if last is None or last.before is None:
            raise Fault(
                f"model {key} has nothing to go back to",
                hint="`edgeagent status` shows what served before, where there is something",
            )
        before = last.before
        new = load_bundle(self._swaps.folder(before)) if before.folder else self._own(key)
        new = self._calibrated(new)
        return self._exchange("rollback", board, key, new, Swap(configured, before, None))

    def _exchange(self, deed: Deed, board: Board, key: str, new: Bundle, swap: Swap) -> str:
        """The new one is loaded, passes its golden vectors, is remembered, and takes over between two windows."""
        old = board.models[key]
        must_be_alike(board.config, key, old, new)
        engine = board.engine_beside(key, new)
        try:
            engine.start()
            self._swaps.remember(key, swap)
        except Fault:
            engine.close()
            raise
        done = {"type": deed, "model": key, "outcome": "done", "from": _identity(old), "to": _identity(new)}
        got = str(engine.status()["why"])

        def switch() -> Future[None]:
            self._tell(done | {"why": got})
            return board.switch(key, new, engine)

        self._in_core(switch).result()
        return f"model {key}: {new.name} {new.version} serves instead of {old.name} {old.version} ({got})"

    def _audited(self, deed: Deed, key: str, work: Callable[[Board], str]) -> str:
        try:
            board = self._in_core(self._board)
            if key not in board.models:
                there = ", ".join(board.models) or "there are none"
                raise Fault(f"there is no model {key!r}", expected=f"one of `models:` in the config: {there}")
            said = work(board)
        except Fault as fault:
            refused = {"type": deed, "model": key, "outcome": "refused", "why": str(fault)}
            self._in_core(lambda: self._tell(refused))
            log.warning("model %s, %s refused, what served serves on: %s", key, deed, fault)
            raise
        log.info("%s", said)
        return said

    def _in_core(self, run: Callable[[], T]) -> T:
        """Let the core's thread do something, and wait for it."""
        reply: Future[T] = Future()
        self._inbox.put(Command(lambda: reply.set_result(run())))
        return reply.result()


def _identity(bundle: Bundle) -> dict[str, Any]:
    sha256 = {variant.name: variant.sha256 for variant in bundle.variants}
    return {"name": bundle.name, "version": bundle.version, "sha256": sha256}
