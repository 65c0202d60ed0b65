"""A journal of what the core was handed, and handing it over again on virtual time.

Replay computes the predictions anew; their *arrivals* are the recording's, so the same rules see the same
things in the same order. A recording of blocks only (no config made it) has neither arrivals nor ticks: there
a prediction arrives with the block that closed its window, and ticks come every 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeagent.agent.lanes import ask_engine
from edgeagent.errors import StorageFault
from edgeagent.inference import Engine
from edgeagent.pipeline import Arrival, Core, Effects, Request
from edgeagent.recording import (
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

TICK_NS = 100 * NS_PER_MS


class Journal:
    """Writes a recording while the agent runs. Raises StorageFault if the folder cannot be written."""

    def __init__(self, folder: Path, config_sha256: str) -> None:
        self._writer = Writer(folder, Header(schema=1, sensors={}, config_sha256=config_sha256))
        self._layouts: dict[str, Layout] = {}

    def layout(self, sensor: str, layout: Layout, now_ns: int) -> None:
        self._layouts[sensor] = layout
        self._writer.write(LayoutEntry(now_ns, sensor, layout))

    def block(self, block: Block, now_ns: int) -> None:
        self._writer.write(block_entry(block, self._layouts[block.sensor], now_ns))

    def arrival(self, arrival: Arrival, now_ns: int) -> None:
        failed = "" if arrival.skipped is None else f"{arrival.skipped}: {arrival.error}"
        self._writer.write(PredictionEntry(now_ns, arrival.pipeline, arrival.window_seq, failed))

    def tick(self, now_ns: int) -> None:
        self._writer.write(TickEntry(now_ns))

    def close(self) -> None:
        self._writer.close()


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
                if entry.sensor not in self._layouts:
                    raise StorageFault(
                        f"a block of {entry.sensor!r} before its layout", where=str(self._recording.folder)
                    )
                return self._core.block(entry_block(entry, self._layouts[entry.sensor]), entry.now_ns)
            case PredictionEntry():
                return self._core.arrival(self._arrival(entry), entry.now_ns)
            case TickEntry(now_ns):
                return self._core.tick(now_ns)

    def _arrival(self, entry: PredictionEntry) -> Arrival:
        request = self._requests.pop((entry.pipeline, entry.window_seq), None)
        if entry.error or request is None:
            skipped, _, error = entry.error.partition(": ")
            return Arrival(entry.pipeline, entry.window_seq, skipped=skipped or "worker", error=error)  # type: ignore[arg-type]
        return ask_engine(self._engines[request.model], request)
