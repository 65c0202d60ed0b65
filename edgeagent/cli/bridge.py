"""Talk with a microcontroller on a serial port: watch its traffic, drive an output, measure the line.

None of these needs a config or a running agent, and none can be used on a port that an agent holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import median, quantiles
from types import TracebackType
from typing import Any

import click

from edgeagent.agent.clock import RealClock
from edgeagent.buses.serial import SerialPort
from edgeagent.cli import FAULTS, OK
from edgeagent.config.quantities import DURATION, parse_quantity
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import NS_PER_MS, NS_PER_S
from firmware_bridge.codec import DELIMITER, Decoder, decode
from firmware_bridge.link import Burst, Echo, Event, Link, Mismatch, OutputState
from firmware_bridge.messages import Hello
from firmware_bridge.wire import Malformed
from firmware_bridge.words import in_words

STEP_NS = 20 * NS_PER_MS
HELLO_WAIT_S = 3.0
SWITCH = {"on": 1.0, "true": 1.0, "off": 0.0, "false": 0.0}
PING_BYTES = 32
SHOWN_BYTES = 60


def _seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_quantity(text, DURATION)
    except ConfigFault as fault:
        raise click.BadParameter(str(fault), ctx, param) from None


def _level(ctx: click.Context, param: click.Parameter, text: str) -> float:
    try:
        return SWITCH[text.lower()] if text.lower() in SWITCH else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}; expected on, off or a number", ctx, param) from None


def _for(default: str | None, help_: str) -> Callable[[Any], Any]:
    return click.option("--for", "for_s", default=default, callback=_seconds, show_default=True, help=help_)


_port = click.argument("port")
_baud = click.option("--baud", default=115200, show_default=True, help="Of a UART; USB boards ignore it.")


@click.group(name="bridge", help=__doc__)
def command() -> None:
    """The group; each command below opens the port by itself."""


@command.command()
@_port
@_baud
@_for(None, 'Stop after this time ("10s"); otherwise at Ctrl-C.')
@click.option(
    "--listen", is_flag=True, help="Send nothing: see what the board says to a host that is silent."
)
@click.option("--raw", is_flag=True, help="Show the bytes of each frame too.")
def monitor(port: str, baud: int, for_s: float | None, listen: bool, raw: bool) -> int:
    """Print what goes over the line, decoded, until Ctrl-C."""
    with Session(port, baud) as session, suppress(KeyboardInterrupt):
        traffic = {">": Traffic(raw), "<": Traffic(raw)}
        while for_s is None or session.elapsed_s() < for_s:
            sent, heard, _ = session.step(silent=listen)
            for arrow, data in ((">", sent), ("<", heard)):
                for line in traffic[arrow].lines(data, session.link.hello):
                    print(f"{session.elapsed_s():9.3f} {arrow} {line}", flush=True)
    print(_counts(session.link))
    return OK


@command.command(name="set")
@_port
@click.argument("output")
@click.argument("value", callback=_level)
@_baud
@_for(None, "Hold it for this time; otherwise until Ctrl-C.")
def set_(port: str, output: str, value: float, baud: int, for_s: float | None) -> int:
    """Drive an output and hold it; the board makes it safe again when this command ends."""
    with Session(port, baud) as session, suppress(KeyboardInterrupt):
        hello = session.greet()
        session.link.set_output(output, value)
        state = session.until_settled(output)
        if state.error:
            raise DeviceFault(state.error, where=port)
        print(f"{output} is {state.reported:g}, says {hello.firmware} {hello.firmware_version}", flush=True)
        if value in {o.safe for o in hello.outputs if o.name == output}:
            return OK
        print("holding it until Ctrl-C" if for_s is None else f"holding it for {for_s:g} s", flush=True)
        end_s = session.elapsed_s() + for_s if for_s is not None else float("inf")
        while session.elapsed_s() < end_s:
            session.step()
            state = session.link.output(output)
            if state.error:
                print(f"{output}: {state.error}", flush=True)
                return FAULTS
    return OK


@command.command()
@_port
@_baud
@_for("5s", "How long to measure.")
def bench(port: str, baud: int, for_s: float) -> int:
    """Measure the line: round trips, samples that arrive and are lost, the board's clock."""
    with Session(port, baud) as session:
        hello = session.greet()
        print(in_words(hello, hello))
        round_trips_ms: list[float] = []
        pings = samples = lost = 0
        end_s = session.elapsed_s() + for_s
        while session.elapsed_s() < end_s:
            if not session.link.pinging:
                pings += 1
                session.link.ping(pings.to_bytes(PING_BYTES, "little"))
            for event in session.step()[2]:
                match event:
                    case Echo(_, round_trip_ns):
                        round_trips_ms.append(round_trip_ns / NS_PER_MS)
                    case Burst():
                        samples, lost = samples + event.samples.count, lost + event.lost
    if not round_trips_ms:
        raise DeviceFault(f"none of {pings} pings was answered in {for_s:g} s", where=port)
    centiles = quantiles(round_trips_ms, n=100) if len(round_trips_ms) > 1 else round_trips_ms * 99
    clock = session.link.clock
    print(f"ping of {PING_BYTES} bytes: {len(round_trips_ms)} of {pings} answered; round trip")
    print(
        f"  {median(round_trips_ms):.2f} ms median, {centiles[98]:.2f} ms p99, {min(round_trips_ms):.2f} ms least"
    )
    print(f"samples: {samples} in {for_s:g} s ({samples / for_s:.1f} a second), {lost} lost")
    print(f"clock: {clock.drift * 1e6:+.0f} ppm against this host's")
    print(_counts(session.link))
    return OK


class Session:
    """A link on a port, worked step by step; leaving it says BYE, and the board's outputs go safe."""

    def __init__(self, port: str, baud: int) -> None:
        self._clock = RealClock()
        self._port = SerialPort(port, baud, self._clock)
        self._start_ns = self._clock.now_ns()
        self.link = Link()

    def __enter__(self) -> Session:
        self._port.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(DeviceFault):
            self._port.write(self.link.leave())
        self._port.close()

    def elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / NS_PER_S

    def step(self, *, silent: bool = False) -> tuple[bytes, bytes, list[Event]]:
        """Send what is due, wait a little, and take what came: both as bytes, and what the link made of it."""
        sent = b"" if silent else self.link.poll(self._clock.now_ns())
        if sent:
            self._port.write(sent)
        heard = self._port.read(STEP_NS)
        return sent, heard, self.link.receive(heard, self._clock.now_ns())

    def greet(self) -> Hello:
        """Wait for HELLO. Raises WrongDevice for another version, DeviceFault if none comes."""
        end_s = self.elapsed_s() + HELLO_WAIT_S
        while not self.link.greeted:
            for event in self.step()[2]:
                if isinstance(event, Mismatch):
                    raise WrongDevice(
                        f"the board speaks protocol version {event.protocol}", where=self._port.path
                    )
            if self.elapsed_s() > end_s:
                raise DeviceFault(
                    f"no HELLO in {HELLO_WAIT_S:g} s",
                    where=self._port.path,
                    hint=f"See what comes: edgeagent bridge monitor {self._port.path}",
                )
        assert self.link.hello is not None
        return self.link.hello

    def until_settled(self, output: str) -> OutputState:
        """Until the board has done what was asked of the output, or said why not."""
        while True:
            state = self.link.output(output)
            if state.error or (state.asked == state.reported and not self.link.setting(output)):
                return state
            self.step()


class Traffic:
    """One direction of the line: frames as lines of text, and what is none too."""

    def __init__(self, raw: bool) -> None:
        self._raw = raw
        self._tail = b""

    def lines(self, data: bytes, hello: Hello | None) -> Iterator[str]:
        """A line for each frame that `data` completes, and for what lies between."""
        *ended, self._tail = (self._tail + data).split(DELIMITER)
        for encoded in filter(None, ended):
            yield _line(encoded, hello)
            if self._raw:
                yield f"  {encoded.hex(' ')} 00"
        if len(self._tail) > SHOWN_BYTES and b"\n" in self._tail:  # a board that prints, and frames nothing
            tail, self._tail = self._tail, b""
            yield _not_a_frame(tail)


def _line(encoded: bytes, hello: Hello | None) -> str:
    contents = Decoder().feed(encoded + DELIMITER)
    if not contents:
        return _not_a_frame(encoded)
    try:
        message = decode(contents[0])
    except Malformed as e:
        return f"{'?':<15} {e}"
    name = type(message).__name__
    return f"{name:<15} {in_words(message, hello)}".rstrip()


def _not_a_frame(data: bytes) -> str:
    text = data[:SHOWN_BYTES].decode("ascii", "backslashreplace")
    return f"{'not a frame':<15} {len(data)} bytes: {text!r}"


def _counts(link: Link) -> str:
    wrong = {name: n for name, n in link.counters.items() if n and name != "good_frames"}
    said = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in wrong.items()) or "nothing wrong"
    return f"{link.counters['good_frames']} good frames; {said}"
