"""The host's side of the link, without I/O: bytes in, events out, and `poll` for the bytes to send.

The link asks for HELLO until it has it, feeds the board's dead-man switch, repeats a SET or CONFIG until it is
answered, keeps the board's clock in step, and counts what is lost, doubled or damaged. A SET that was obeyed is
not sent again by itself: outputs of a board that was reset, or that failed safe, stay safe until the host decides
anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from firmware_bridge.clock import DRIFT_EXPECTED, BoardClock
from firmware_bridge.codec import DELIMITER, Decoder, UnknownMessage, VersionMismatch, decode, encode
from firmware_bridge.messages import (
    PROTOCOL_VERSION,
    TO_HOST,
    Ack,
    Bye,
    Config,
    ConfigAck,
    Fault,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Log,
    Message,
    OutputInfo,
    Ping,
    Pong,
    Result,
    Samples,
    Set,
    Time,
    TimeRequest,
)
from firmware_bridge.requests import FOREVER, RETRY_NS, TRIES, Requests
from firmware_bridge.samples import LETTERS, row
from firmware_bridge.wire import Malformed, shortest

NS_PER_MS = 1_000_000
ASK_EVERY_NS = 250 * NS_PER_MS
HEARTBEATS_PER_FAILSAFE = 4  # three may be lost before the dead-man switch acts
HEARTBEAT_BYTES = 8  # kept free of requests in the board's buffer
TIME_BURST = 8
TIME_BURST_EVERY_NS = 50 * NS_PER_MS
TIME_EVERY_NS = 1000 * NS_PER_MS
REOPEN_SLACK_MS = 500
LATE_IS_RESET = 3  # a line reorders nothing, so a board that goes on counting from the past began anew
COUNTERS = (
    "good_frames",
    "bad_frames",
    "bad_frames_at_board",
    "unknown_messages",
    "malformed_messages",
    "version_mismatches",
    "duplicate_frames",
    "late_frames",
    "samples_lost_on_line",
    "samples_dropped_by_board",
    "resets",
    "failsafes",
    "set_retries",
    "set_failures",
    "late_answers",
    "logs",
    "faults",
)
_CONFIG, _TIME, _PING, _SET = "config", "time", "ping", "set "  # a SET's key ends in its output's name
_U32 = 1 << 32


@dataclass(frozen=True)
class Greeted:
    """The board has said who it is; `reset`: it has started anew, its outputs are safe, its seq begins at 0."""

    hello: Hello
    reset: bool


@dataclass(frozen=True)
class Configured:
    """The board has answered `Link.configure`: how it samples now, or (`refused`) why it does not."""

    hello: Hello
    refused: str = ""


class Burst(NamedTuple):
    """Samples in order; `lost` are missing before the first of them."""

    samples: Samples
    lost: int


@dataclass(frozen=True)
class Mismatch:
    """The board speaks another version of the protocol; nothing else of it can be understood."""

    protocol: int


@dataclass(frozen=True)
class Echo:
    """The answer to `Link.ping`."""

    data: bytes
    round_trip_ns: int


Event = Greeted | Configured | Burst | Mismatch | Echo | Log | Fault


@dataclass(frozen=True)
class OutputState:
    """One output: what the host asked for, what the board reports, and what stands between the two."""

    asked: float | None = None
    reported: float | None = None
    changes: int = 0
    error: str | None = None


class Link:
    """One board. `now_ns` may be any clock that never steps back. Not for several threads at once."""

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self.clock = BoardClock()
        self.begun_bytes = 0
        """How much has come of a frame that has not ended yet."""
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._outputs: dict[str, OutputState] = {}
        self._sets: dict[str, tuple[float, int]] = {}  # value and max_on_ms of those not acknowledged yet
        self._requests = Requests()
        self._uptime: tuple[int, int] | None = None  # in ms, and when we heard it
        self._next_seq: int | None = None
        self._last_seq: int | None = None
        self._dropped = 0
        self._pinged = b""
        self._heartbeat_due_ns = 0
        self._time_due_ns, self._times_asked = 0, 0
        self.restart()

    def restart(self) -> None:
        """The port was opened (again): ask who is there, and believe nothing before the answer.

        Counters and what was asked of the outputs stay, and if it is still the same board, not reset in the
        meantime, so does its sample count: what was missed while the port was closed is counted exactly.
        """
        self._decoder = Decoder(midway=True)
        self._row_bytes = self.begun_bytes = 0
        self._requests.clear()
        self.greeted = False
        self._was_reset = False
        self._late_in_a_row = 0
        self._ask_due_ns = 0  # FOREVER: there is nothing to ask
        self._opening = True
        self._strangers = 0

    # --- what the caller asks -----------------------------------------------------------------------------

    def configure(self, rate_hz: float = 0.0, enabled: int = 0) -> None:
        """Ask for a rate (0: the board's own choice) and for channels (a bit each; 0: all); ends in Configured.

        Repeated until it is answered; before that the board gets no heartbeat, so that no sample is taken otherwise.
        """
        id_ = self._requests.next_id()
        self._requests.put(_CONFIG, id_, Config(id_, rate_hz, enabled), tries=FOREVER)

    def set_output(self, name: str, value: float, max_on_ms: int = 0) -> None:
        """Ask for a value, held for `max_on_ms` at most; the latest wins, and failure shows in `output`."""
        self._update(name, asked=value, error=None)
        self._requests.drop(_SET + name)
        try:
            self._sets[name] = shortest(value), max_on_ms
        except OverflowError:
            self._fail(name, f"{value:g} does not fit a 32-bit float")
        else:
            self._update(name, asked=self._sets[name][0])

    def output(self, name: str) -> OutputState:
        """What is known of one output, asked for or reported."""
        state = self._outputs.get(name, OutputState())
        settled = state.error is None and name not in self._sets
        if not settled or None in (state.asked, state.reported) or state.asked == state.reported:
            return state
        text = f"the board reports {state.reported:g}: it was reset, its dead-man switch has acted, or max_on ran out"
        return replace(state, error=text)

    def setting(self, name: str) -> bool:
        """Whether what was asked of an output is not acknowledged yet."""
        return name in self._sets

    def ping(self, data: bytes = b"") -> None:
        """Have the board say this back, other data each time; ends in Echo, or in nothing. At most 61 bytes."""
        self._pinged = data
        self._requests.put(_PING, 0, Ping(data), tries=1)

    @property
    def waiting(self) -> bool:
        """Whether the board owes an answer; one that is read late makes its clock look late."""
        return not self.greeted or bool(self._sets) or bool(self._requests)

    @property
    def pinging(self) -> bool:
        """Whether the last ping is neither answered nor given up."""
        return _PING in self._requests

    def leave(self) -> bytes:
        """The last bytes to send: the board's outputs go safe at once instead of when it misses us."""
        return encode(Bye()) if self.greeted else b""

    # --- the way out ----------------------------------------------------------------------------------------

    def due_ns(self) -> int:
        """When `poll` will have something to send."""
        if not self.greeted:
            return self._ask_due_ns
        due_ns = min(self._ask_due_ns, self._heartbeat_due_ns, self._time_due_ns)
        if not self._requests and not self._sets:  # as mostly, and it is asked at each read
            return due_ns
        if _CONFIG in self._requests:
            return min(self._ask_due_ns, self._requests.due_ns())
        if any(_SET + name not in self._requests for name in self._sets):
            return 0
        return min(due_ns, self._requests.due_ns())

    def poll(self, now_ns: int) -> bytes:
        """The bytes to send now; b"" if nothing is due."""
        out = b""
        if now_ns >= self._ask_due_ns:
            self._ask_due_ns = now_ns + ASK_EVERY_NS
            out += encode(HelloRequest(PROTOCOL_VERSION, PROTOCOL_VERSION))
        if self.hello and self.greeted:
            out += self._poll_board(self.hello, now_ns)
        if out and self._opening:
            self._opening = False
            return DELIMITER + out  # ends whatever half a frame the board still holds
        return out

    def _poll_board(self, hello: Hello, now_ns: int) -> bytes:
        for key in self._requests.given_up(now_ns):
            if key.startswith(_SET):
                self._fail(
                    key.removeprefix(_SET), f"the board did not acknowledge in {TRIES * RETRY_NS / 1e9:g} s"
                )
        heartbeat = b""
        if _CONFIG not in self._requests:
            if now_ns >= self._heartbeat_due_ns:
                self._heartbeat_due_ns = now_ns + hello.failsafe_ms * NS_PER_MS // HEARTBEATS_PER_FAILSAFE
                heartbeat = encode(HostHeartbeat())
            self._ask_time(now_ns)
            self._ask_sets(hello)
        requests = self._requests.due(now_ns, hello.receive_bytes - HEARTBEAT_BYTES)
        self.counters["set_retries"] += sum(r.tries > 1 for r in requests)
        return heartbeat + b"".join(r.frame for r in requests)

    def _ask_time(self, now_ns: int) -> None:
        if now_ns >= self._time_due_ns:
            self._times_asked += 1
            pause_ns = TIME_BURST_EVERY_NS if self._times_asked < TIME_BURST else TIME_EVERY_NS
            self._time_due_ns = now_ns + pause_ns
            id_ = self._requests.next_id()
            self._requests.put(_TIME, id_, TimeRequest(id_), tries=1)

    def _ask_sets(self, hello: Hello) -> None:
        for name, (value, max_on_ms) in list(self._sets.items()):
            index = next((i for i, output in enumerate(hello.outputs) if output.name == name), None)
            if index is None:
                there = ", ".join(o.name for o in hello.outputs) or "none"
                self._fail(name, f"the board has no output {name!r}; it has: {there}")
            elif _SET + name not in self._requests:
                id_ = self._requests.next_id()
                self._requests.put(_SET + name, id_, Set(id_, index, value, max_on_ms))

    # --- the way in -----------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_ns: int) -> list[Event]:
        """What the bytes say. Damaged and unknown messages are counted, never raised."""
        contents = self._decoder.feed(data)
        self.begun_bytes = self._decoder.begun_bytes
        self.counters["good_frames"] += len(contents)
        self.counters["bad_frames"] += self._decoder.bad_frames
        self._decoder.bad_frames = 0
        events: list[Event] = []
        event: Event | None
        for content in contents:
            try:
                if content[0] == Samples.CODE and self.greeted:  # of these a board sends hundreds a second
                    event = self._on_samples(Samples.unpack(content, 1)[0], now_ns)
                else:
                    event = self._understand(decode(content), now_ns)
            except VersionMismatch as e:
                event = self._on_stranger(e.protocol, now_ns)
            except UnknownMessage:
                self.counters["unknown_messages"] += 1
                continue
            except Malformed:
                self.counters["malformed_messages"] += 1
                continue
            if event is not None:
                events.append(event)
        return events

    def _understand(self, message: Message, now_ns: int) -> Event | None:
        if isinstance(message, Hello):
            return self._on_hello(message, now_ns)
        if not message.CODE & TO_HOST:
            raise Malformed("a message of the host's own: the line echoes")
        if self.hello is None or not self.greeted:
            return None
        match message:
            case Heartbeat():
                self._on_heartbeat(self.hello, message, now_ns)
            case Log() | Fault():
                self.counters["logs" if isinstance(message, Log) else "faults"] += 1
                return message
            case _:
                return self._on_answer(self.hello, message, now_ns)
        return None

    def _on_answer(self, hello: Hello, message: Message, now_ns: int) -> Event | None:
        match message:
            case Ack():
                self._on_ack(hello, message, now_ns)
            case ConfigAck():
                return self._on_config_ack(hello, message)
            case Time():
                self._on_time(message, now_ns)
            case Pong():
                return self._on_pong(message, now_ns)
        return None

    def _on_stranger(self, protocol: int, now_ns: int) -> Event | None:
        """HELLO of another version: the first may have been unasked, and the board may speak ours when asked."""
        self.counters["version_mismatches"] += 1
        self._strangers += 1
        self._ask_due_ns = now_ns if self._strangers == 1 else now_ns + ASK_EVERY_NS
        return Mismatch(protocol) if self._strangers > 1 else None

    def _on_hello(self, hello: Hello, now_ns: int) -> Event | None:
        self._row_bytes = _row_bytes(hello)
        known, self.hello = self.hello, hello
        reset = self._note_uptime(hello.uptime_ms, now_ns, reopened=not self.greeted) or self._was_reset
        other = known is not None and replace(known, uptime_ms=hello.uptime_ms) != hello
        self._ask_due_ns, self._was_reset = FOREVER, False
        if self.greeted and not reset and not other:
            return None
        if reset or other:
            self._next_seq = self._last_seq = None
            self._late_in_a_row = 0
            self.clock = BoardClock()
        self._requests.clear()
        self.greeted = True
        self._heartbeat_due_ns = self._time_due_ns = now_ns
        self._times_asked = 0
        return Greeted(hello, reset)

    def _note_uptime(self, uptime_ms: int, now_ns: int, *, reopened: bool) -> bool:
        """Keep the board's uptime; True if it was reset: it went back (modulo its wrap), or grew by too little."""
        last, self._uptime = self._uptime, (uptime_ms, now_ns)
        if last is None:
            return False
        grown_ms = (uptime_ms - last[0]) % _U32
        passed_ms = (now_ns - last[1]) / NS_PER_MS
        behind = reopened and grown_ms < passed_ms * (1 - DRIFT_EXPECTED) - REOPEN_SLACK_MS
        reset = grown_ms >= _U32 // 2 or behind
        self.counters["resets"] += reset
        return reset

    def _on_heartbeat(self, hello: Hello, heartbeat: Heartbeat, now_ns: int) -> None:
        if len(heartbeat.outputs) != len(hello.outputs):
            raise Malformed("HEARTBEAT has another number of outputs than HELLO")
        if self._note_uptime(heartbeat.uptime_ms, now_ns, reopened=False):  # its HELLO was lost
            self.greeted, self._was_reset, self._ask_due_ns = False, True, now_ns
            return
        self.counters["failsafes"] = heartbeat.failsafes
        self.counters["bad_frames_at_board"] = heartbeat.bad_frames
        for info, value in zip(hello.outputs, heartbeat.outputs, strict=True):
            self._update(info.name, reported=value.value, changes=value.changes)

    def _on_samples(self, samples: Samples, now_ns: int) -> Burst | None:
        # A CONFIG_ACK was lost: how long a sample is, only HELLO can say.
        if self.hello is None or samples.config != self.hello.config:
            self._ask_due_ns = now_ns if self._ask_due_ns == FOREVER else self._ask_due_ns
            return None
        if not (samples.data and self._row_bytes) or len(samples.data) != samples.count * self._row_bytes:
            raise Malformed(f"SAMPLES says {samples.count} samples and has {len(samples.data)} bytes of them")
        if self._next_seq is None:
            self._next_seq, self._dropped = samples.seq, samples.dropped
        lost = (samples.seq - self._next_seq) % _U32
        if lost >= _U32 // 2:
            self._on_past(samples.seq, now_ns)
            return None
        if lost:
            by_board = min((samples.dropped - self._dropped) % _U32, lost)
            self.counters["samples_dropped_by_board"] += by_board
            self.counters["samples_lost_on_line"] += lost - by_board
        self._late_in_a_row = 0
        self._last_seq, self._next_seq = samples.seq, (samples.seq + samples.count) % _U32
        self._dropped = samples.dropped
        return Burst(samples, lost)

    def _on_past(self, seq: int, now_ns: int) -> None:
        """Samples that were there before: doubled, late, or the first sign of a reset."""
        if seq == self._last_seq:
            self.counters["duplicate_frames"] += 1
            return
        self.counters["late_frames"] += 1
        self._ask_due_ns = now_ns
        self._late_in_a_row += 1
        if self._late_in_a_row == LATE_IS_RESET:  # its HELLO was lost, and its uptime did not tell
            self.counters["resets"] += 1
            self._was_reset = True

    def _on_ack(self, hello: Hello, ack: Ack, now_ns: int) -> None:
        name = hello.outputs[ack.output].name if ack.output < len(hello.outputs) else ""
        if ack.result == Result.DEAD_MAN:
            self._heartbeat_due_ns = now_ns  # it has not heard us; the SET is tried again
        elif not self._requests.answered(_SET + name, ack.correlation):
            self.counters["late_answers"] += 1
        elif ack.result == Result.OK:
            del self._sets[name]
            self._update(name, reported=ack.value)
        else:
            self._fail(name, _refusal(hello.outputs[ack.output], ack.result))

    def _on_config_ack(self, hello: Hello, ack: ConfigAck) -> Event | None:
        if not self._requests.answered(_CONFIG, ack.correlation):
            self.counters["late_answers"] += 1
            return None
        channels = tuple(
            replace(c, rate_hz=ack.rate_hz, enabled=ack.enabled >> i & 1)
            for i, c in enumerate(hello.channels)
        )
        self.hello = replace(hello, config=ack.config, channels=channels)
        self._row_bytes = _row_bytes(self.hello)
        refused = f"rate or channels out of range (result {ack.result})" if ack.result != Result.OK else ""
        return Configured(self.hello, refused)

    def _on_time(self, time: Time, now_ns: int) -> None:
        request = self._requests.answered(_TIME, time.id)
        if request is None:
            self.counters["late_answers"] += 1
        else:
            self.clock.exchanged(request.sent_ns, now_ns, time.received_us, time.sent_us)

    def _on_pong(self, pong: Pong, now_ns: int) -> Event | None:
        request = self._requests.answered(_PING, 0) if pong.data == self._pinged else None
        return Echo(pong.data, now_ns - request.sent_ns) if request else None

    def _fail(self, name: str, error: str) -> None:
        self.counters["set_failures"] += 1
        self._sets.pop(name, None)
        self._requests.drop(_SET + name)
        self._update(name, error=error)

    def _update(self, name: str, **changes: float | str | None) -> None:
        self._outputs[name] = replace(self._outputs.get(name, OutputState()), **changes)  # type: ignore[arg-type]


def _row_bytes(hello: Hello) -> int:
    """How long a sample is; 0 if it has a type that we do not know."""
    return row(hello).size if all(c.type in LETTERS for c in hello.channels) else 0


def _refusal(output: OutputInfo, result: int) -> str:
    if result == Result.OUT_OF_RANGE:
        return f"the board refused the value; {output.name!r} takes {output.low:g} to {output.high:g}"
    return f"the board refused it (result {result})"
