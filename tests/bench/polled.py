"""Sensors that are asked: what each costs, how well a rate is held, how late a reading begins.

What the fake chips cost is a real bus's to bear: it is measured at each transfer, taken off, and shown as raw.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from threading import Thread
from typing import NamedTuple

from bench.figure import Figure
from edgeagent.agent.clock import RealClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import Adapter, I2cBus
from edgeagent.records import NS_PER_MS, NS_PER_S, Block
from edgeagent.sensors import Context
from edgeagent.sensors.i2c_registers import Options, Register, Write, build

COUNTS = (1, 10, 20, 50)
FLAT = 1.25
ROUNDS, SECONDS = 3, 5.0
LONG_S = 60.0
CORE_PERCENT = 5.0
LATE_MS = 1.0


def measure() -> Iterator[Figure]:
    percents = {}
    for count in COUNTS:
        rounds = [_run(count, rate_hz=10.0, seconds=SECONDS) for _ in range(ROUNDS)]
        percents[count] = 100 * median(run.cpu_s for run in rounds) / SECONDS
        yield _cost(count, percents[count], 100 * median(run.chips_s for run in rounds) / SECONDS)
    yield _flatness(percents)
    yield _held_rate()
    yield _lateness()


class Run(NamedTuple):
    """What a reader got, the processor time of the whole process without the chips and of these alone, and how late
    the first sensor's readings began."""

    blocks: list[Block]
    cpu_s: float
    chips_s: float
    late_p99_ms: float


class MeteredBuses(Buses):
    """Buses that know what the transfers of their fake chips have cost so far."""

    spent_ns = 0

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        bus = super().i2c(name, fake)
        chip = bus.connect()
        bus.connect = lambda: Metered(chip, self)
        return bus


class Metered(NamedTuple):
    """A chip whose transfers are counted."""

    chip: Adapter
    buses: MeteredBuses

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        start_ns = time.thread_time_ns()
        answer = self.chip.transfer(address, out, n)
        self.buses.spent_ns += time.thread_time_ns() - start_ns
        return answer

    def close(self) -> None:
        self.chip.close()


def _run(count: int, rate_hz: float, seconds: float) -> Run:
    """So many accelerometers, each on a fake bus, read by one thread."""
    clock, inbox = RealClock(), Inbox()
    axes = {
        f"acc_{axis}": Register(register=0x32 + 2 * i, type="int16", endianness="little", unit="m/s2")
        for i, axis in enumerate("xyz")
    }
    options = Options(
        bus="fake:adxl345",
        address=0x53,
        rate=rate_hz,
        init=[Write(register=0x2D, value=8)],
        registers=axes,
    )
    buses = MeteredBuses(clock)
    context = Context(clock, buses)
    devices = [Device(f"s{i}", build(f"s{i}", options, context), clock, inbox) for i in range(count)]
    reader = Reader("bench", devices, clock, inbox)
    before_s = time.process_time()
    reader.start()
    blocks = list(_blocks(inbox, seconds))
    cpu_s, chips_s = time.process_time() - before_s, buses.spent_ns / NS_PER_S
    reader.stop()
    return Run(blocks, cpu_s - chips_s, chips_s, devices[0].sensor.counters()["late_p99_ms"])


def _blocks(inbox: Inbox, seconds: float) -> Iterator[Block]:
    """What the core would take, as it comes."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        message = inbox.get(left_s)
        if isinstance(message, Block):
            yield message


def _cost(count: int, percent: float, chips_percent: float) -> Figure:
    figure = Figure(
        f"{count} sensors at 10 Hz ({percent / count:.3f} % each), of a core",
        f"{percent:.2f} %",
        f"{chips_percent:.2f} %",
        f"{percent / chips_percent:.1f}",
    )
    if count != 20:
        return figure
    return figure._replace(floor=f"<= {CORE_PERCENT:.0f} %", met=percent <= CORE_PERCENT)


def _flatness(percents: dict[int, float]) -> Figure:
    """What one more costs between 10 and 50, against between 1 and 10."""
    few, many = ((percents[b] - percents[a]) / (b - a) for a, b in ((1, 10), (10, 50)))
    return Figure(
        "  one more of 50, against one more of 10",
        f"{many:.3f} %",
        f"{few:.3f} %",
        f"{many / few:.2f}",
        f"<= {FLAT}",
        many <= FLAT * few,
    )


def _held_rate() -> Figure:
    """What was missed because this machine was busy is told, and counts as held."""
    blocks = _run(1, rate_hz=100.0, seconds=LONG_S + 1).blocks
    end_ns = blocks[0].t_mono_ns[0] + LONG_S * NS_PER_S
    wanted, rows = round(100 * LONG_S), sum(int((b.t_mono_ns < end_ns).sum()) for b in blocks)
    lost = sum(b.lost for b in blocks if b.t_mono_ns[0] < end_ns)
    return Figure(
        f"100 Hz for {LONG_S:.0f} s: samples, missed",
        f"{rows}, {lost}",
        str(wanted),
        "",
        f"{wanted} +- 1",
        abs(rows + lost - wanted) <= 1,
    )


def _lateness() -> Figure:
    """Beside a bare thread in the same run, one after the other: two at once would measure one another."""
    bare_ms = _bare_late_ms(1000.0, SECONDS)
    run = _run(1, rate_hz=1000.0, seconds=SECONDS)
    return Figure(
        f"1 kHz, p99 of lateness ({sum(b.lost for b in run.blocks)} missed)",
        f"{run.late_p99_ms:.3f} ms",
        f"{bare_ms:.3f} ms",
        f"{run.late_p99_ms / bare_ms:.2f}",
        f"<= 2 or {LATE_MS:.0f} ms",
        run.late_p99_ms <= max(2 * bare_ms, LATE_MS),
    )


def _bare_late_ms(rate_hz: float, seconds: float) -> float:
    """p99 of the lateness of a thread that only sleeps to absolute deadlines."""
    late_ns: list[int] = []

    def sleeper() -> None:
        period_ns, start_ns = round(NS_PER_S / rate_hz), time.monotonic_ns()
        for k in range(round(rate_hz * seconds)):
            deadline_ns = start_ns + k * period_ns
            time.sleep(max(deadline_ns - time.monotonic_ns(), 0) / NS_PER_S)
            late_ns.append(time.monotonic_ns() - deadline_ns)

    thread = Thread(target=sleeper)
    thread.start()
    thread.join()
    return sorted(late_ns)[len(late_ns) * 99 // 100] / NS_PER_MS
