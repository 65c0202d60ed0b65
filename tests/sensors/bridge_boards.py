"""Virtual boards on ptys for the bridge's tests, and boards whose every byte the test says itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from edgeagent.agent.clock import ScaledClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors import Context
from edgeagent.sensors.bridge import BridgeSensor, Options, build
from edgeagent.timebase import Clock
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import ChannelInfo, Config, ConfigAck, Hello, HelloRequest, OutputInfo

SPEED = 10.0
PlugIn = Callable[..., VirtualBoard]
PATIENCE_S = 600  # of the scaled clock: a minute
CURRENT = ChannelInfo("current", "A", 1, 1, 0.01, 20.0)


@contextmanager
def plugged(clock: Clock) -> Iterator[PlugIn]:
    """Gives (firmware, link) -> a board that runs in a thread of its own until the block ends."""
    stop, threads, boards = Event(), list[Thread](), list[VirtualBoard]()

    def plug_in(firmware: Firmware, link: Path | None = None) -> VirtualBoard:
        board = VirtualBoard(clock, link, firmware)
        boards.append(board)
        threads.append(Thread(target=board.serve, args=(stop,)))
        threads[-1].start()
        return board

    try:
        yield plug_in
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for board in boards:
            board.unplug()


def make(
    port: str,
    clock: ScaledClock,
    rate: float | None = None,
    firmware: str = "",
    channels: dict[str, str] | None = None,
    board: str = "",
) -> BridgeSensor:
    options = Options(port=port, channels=channels or {}, rate=rate, firmware=firmware, board=board)
    sensor = build("motor", options, Context(clock, Buses(clock)))
    assert isinstance(sensor, BridgeSensor)
    return sensor


def read_until(sensor: BridgeSensor, clock: ScaledClock, done: Callable[[list[Block]], bool]) -> list[Block]:
    """The blocks up to when `done` is content with them."""
    blocks: list[Block] = []
    end_ns = clock.now_ns() + PATIENCE_S * NS_PER_S
    while not done(blocks):
        assert clock.now_ns() < end_ns, f"not within {PATIENCE_S} s: {sensor.counters()}"
        block = sensor.read()
        if block is not None:
            blocks.append(block)
    return blocks


def samples_of(blocks: list[Block]) -> int:
    return sum(len(b.values) for b in blocks)


def wait_until(clock: ScaledClock, done: Callable[[], bool]) -> None:
    end_ns = clock.now_ns() + PATIENCE_S * NS_PER_S
    while not done():
        assert clock.now_ns() < end_ns
        clock.sleep_s(0.05)


class Puppet:
    """A port at whose far end the test itself speaks, greeted, configured (unless it does not obey) and open."""

    def __init__(self, clock: ScaledClock, *channels: ChannelInfo, obeys: bool = True) -> None:
        self.port = FakePort()
        self.sensor = make(self.port.path, clock)
        relay = OutputInfo("relay", 0.0, 0.0, 1.0, 0)
        self._hello = Hello(1, 10, 60_000, 64, 0.0, 0, "puppet", "1", "b", "p", channels, (relay,))
        self._obeys = obeys
        opened = Event()
        answerer = Thread(target=self._answer, args=(opened,))
        answerer.start()
        try:
            self.sensor.open()
        finally:
            opened.set()
            answerer.join()

    def _answer(self, opened: Event) -> None:
        decoder = Decoder()
        while not opened.is_set():
            for content in decoder.feed(self.port.receive(wait_s=0.01)):
                match decode(content):
                    case HelloRequest():
                        self.port.send(encode(self._hello))
                    case Config() as config if self._obeys:
                        self.port.send(encode(ConfigAck(config.correlation, 0, 0, 20.0, 0b111)))

    def close(self) -> None:
        self.sensor.close()
        self.port.unplug()


class Drifting(ScaledClock):
    """A clock that is `drift` faster than the one it was made from."""

    def __init__(self, clock: ScaledClock, drift: float) -> None:
        super().__init__(clock.speed * (1 + drift), clock._origin_ns)


@contextmanager
def babble(port: FakePort, data: bytes) -> Iterator[None]:
    """A device that says the same thing over and over while the block runs."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            port.send(data)
            port.receive(wait_s=0.005)

    thread = Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()
