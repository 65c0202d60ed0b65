"""A journal of what the core was handed, and handing it over again on virtual time.

Replay computes the predictions anew; their *arrivals* are the recording's, so the same rules see the same
things in the same order. A recording of blocks only (no config made it) has neither arrivals nor ticks: there
a prediction arrives with the block that closed its window, and ticks come every 100 ms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgeagent.agent.lanes import ask_engine
from edgeagent.agent.threads import Announced, Message
from edgeagent.errors import StorageFault
from edgeagent.inference import Engine
from edgeagent.pipeline import Arrival, Core, Effects, Request
from edgeagent.recording import (
    SCHEMA,
    BlockEntry,
    Entry,
    Header,
    LayoutEntry,
    PredictionEntry,
    Recording,
    TickEntry,
    Writer,
    block_entry,
    entry_block,
)
from edgeagent.records import NS_PER_MS, Block, Draft, Layout

log = logging.getLogger(__name__)

TICK_NS = 100 * NS_PER_MS


class Journal:
    """Writes a recording while the agent runs. A disk that refuses ends the journal, not the agent.

    Raises StorageFault if the folder cannot be written, or holds a recording already.
    """

    def __init__(self, folder: Path, config_sha256: str) -> None:
        self._folder = folder
        self._writer: Writer | None = Writer(folder, Header(SCHEMA, sensors={}, config_sha256=config_sha256))
        self._layouts: dict[str, Layout] = {}

    def note(self, message: Message, now_ns: int) -> None:
        """What the core is handed next; what is not for the core (a command) is not for the journal."""
        match message:
            case Block() if message.sensor in self._layouts:
                self._write(block_entry(message, self._layouts[message.sensor], now_ns))
            case Arrival(pipeline, window_seq, skipped=skipped, error=error):
                failed = "" if skipped is None else f"{skipped}: {error}"
                self._write(PredictionEntry(now_ns, pipeline, window_seq, failed))
            case Announced(sensor, layout):
                self._layouts[sensor] = layout
                self._write(LayoutEntry(now_ns, sensor, layout))

    def tick(self, now_ns: int) -> None:
        """Time passes; what was noted up to now survives a `kill -9` of this process."""
        self._write(TickEntry(now_ns))
        self._do(Writer.flush)

    def close(self) -> None:
        self._do(Writer.close)
        self._writer = None

    def _write(self, entry: Entry) -> None:
        self._do(lambda writer: writer.write(entry))

    def _do(self, action: Callable[[Writer], None]) -> None:
        if self._writer is None:
            return
        try:
            action(self._writer)
        except OSError as e:
            log.warning("the journal in %s ends here: %s", self._folder, e)
            self._writer = None


class Replay:
    """Hands a recording to a core.

    Args:
        recording: What to hand over.
        core: Fresh, composed from the config.
        engines: By the model's key; started already.
    """

    def __init__(self, recording: Recording, core: Core, engines: Mapping[str, Engine]) -> None:
        self._recording, self._core, self._engines = recording, core, engines
        self._blocks_only = not recording.header.config_sha256
        self._layouts: dict[str, Layout] = {}
        self._requests: dict[tuple[str, int], Request] = {}
        self._last_tick_ns: int | None = None
        self.start_ns: int | None = None
        self.now_ns = 0

    def drafts(self) -> Iterator[Draft]:
        """Every record of the replay, in order. Raises StorageFault where the recording is damaged."""
        for sensor, layout in self._recording.header.sensors.items():
            yield from self._hand_over(LayoutEntry(0, sensor, layout))
        for entry in self._recording.entries():
            if self.start_ns is None:
                self.start_ns = entry.now_ns
            if self._blocks_only:
                yield from self._ticks_until(entry.now_ns)
            yield from self._hand_over(entry)
        yield from self._core.end(self.now_ns)

    def _ticks_until(self, now_ns: int) -> Iterator[Draft]:
        if self._last_tick_ns is None:
            self._last_tick_ns = now_ns
        while self._last_tick_ns + TICK_NS <= now_ns:
            self._last_tick_ns += TICK_NS
            yield from self._hand_over(TickEntry(self._last_tick_ns))

    def _hand_over(self, entry: Entry) -> list[Draft]:
        self.now_ns = entry.now_ns
        drafts: list[Draft] = []
        effects = self._step(entry)
        drafts += effects.drafts
        for request in effects.requests:
            if self._blocks_only:
                drafts += self._core.arrival(
                    ask_engine(self._engines[request.model], request), entry.now_ns
                ).drafts
            else:
                self._requests[request.pipeline, request.window_seq] = request
        return drafts

    def _step(self, entry: Entry) -> Effects:
        match entry:
            case LayoutEntry(now_ns, sensor, layout):
                self._layouts[sensor] = layout
                return self._core.layout(sensor, layout, now_ns)
            case BlockEntry():
                return self._core.block(self._block(entry), entry.now_ns)
            case PredictionEntry():
                return self._core.arrival(self._arrival(entry), entry.now_ns)
            case TickEntry(now_ns):
                return self._core.tick(now_ns)

    def _block(self, entry: BlockEntry) -> Block:
        try:
            return entry_block(entry, self._layouts[entry.sensor])
        except KeyError:
            what = f"a block of {entry.sensor!r} before its layout"
        except ValueError as e:
            what = f"block {entry.seq} of {entry.sensor!r} is damaged: {e}"
        raise StorageFault(what, where=str(self._recording.folder))

    def _arrival(self, entry: PredictionEntry) -> Arrival:
        request = self._requests.pop((entry.pipeline, entry.window_seq), None)
        if entry.error or request is None:
            skipped, _, error = entry.error.partition(": ")
            return Arrival(entry.pipeline, entry.window_seq, skipped=skipped or "worker", error=error)  # type: ignore[arg-type]
        return ask_engine(self._engines[request.model], request)
