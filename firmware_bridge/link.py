"""The host's side of the link, without I/O: bytes in, events out, and `poll` for the bytes to send.

The link asks for HELLO until it has it, feeds the board's dead-man switch, repeats a SET until it is
acknowledged, and counts what is lost, doubled or damaged. A SET that was obeyed is not sent again by itself:
outputs of a board that was reset, or that failed safe, stay safe until the host decides anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import count

from firmware_bridge.codec import DELIMITER, Decoder, UnknownMessage, VersionMismatch, decode, encode
from firmware_bridge.messages import (
    PROTOCOL_VERSION,
    Ack,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    Result,
    Samples,
    Set,
)
from firmware_bridge.wire import Malformed, shortest

NS_PER_MS = 1_000_000
ASK_EVERY_NS = 250 * NS_PER_MS
SET_RETRY_NS = 250 * NS_PER_MS
SET_TRIES = 8
HEARTBEATS_PER_FAILSAFE = 4  # three may be lost before the dead-man switch acts
SAMPLE_BYTES = 2
COUNTERS = (
    "good_frames",
    "bad_frames",
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
    "late_acks",
)
_U16 = 1 << 16
_U32 = 1 << 32


@dataclass(frozen=True)
class Greeted:
    """The board has said who it is; `reset`: it has started anew, its outputs are safe, its seq begins at 0."""

    hello: Hello
    reset: bool


@dataclass(frozen=True)
class Burst:
    """Samples in order; `lost` are missing before the first of them."""

    samples: Samples
    lost: int


@dataclass(frozen=True)
class Mismatch:
    """The board speaks another version of the protocol; nothing else of it can be understood."""

    protocol: int


Event = Greeted | Burst | Mismatch


@dataclass(frozen=True)
class OutputState:
    """One output: what the host asked for, what the board reports, and what stands between the two."""

    asked: float | None = None
    reported: float | None = None
    changes: int = 0
    error: str | None = None


@dataclass
class _Pending:
    """A SET that is not acknowledged yet."""

    correlation: int
    value: float
    tries: int = 0
    due_ns: int = 0


class Link:
    """One board. `now_ns` may be any clock that never steps back. Not for several threads at once."""

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._outputs: dict[str, OutputState] = {}
        self._pending: dict[str, _Pending] = {}
        self._correlations = count(1)
        self._uptime_ms: int | None = None
        self._next_seq: int | None = None
        self._last_seq: int | None = None
        self._dropped = 0
        self._heartbeat_due_ns = 0
        self.restart()

    def restart(self) -> None:
        """The port was opened (again): ask who is there, and believe nothing before the answer.

        Counters and what was asked of the outputs stay, and if it is still the same board, not reset in the
        meantime, so does its sample count: what was missed while the port was closed is counted exactly.
        """
        self._decoder = Decoder()
        self.greeted = False
        self._was_reset = False
        self._ask_due_ns: int | None = 0
        self._opening = True

    def receive(self, data: bytes, now_ns: int) -> list[Event]:
        """What the bytes say. Damaged and unknown messages are counted, never raised."""
        contents = self._decoder.feed(data)
        self.counters["good_frames"] += len(contents)
        self.counters["bad_frames"] += self._decoder.bad_frames
        self._decoder.bad_frames = 0
        events = []
        for content in contents:
            try:
                event = self._understand(decode(content), now_ns)
            except VersionMismatch as e:
                self.counters["version_mismatches"] += 1
                event = Mismatch(e.protocol)
            except UnknownMessage:
                self.counters["unknown_messages"] += 1
                continue
            except Malformed:
                self.counters["malformed_messages"] += 1
                continue
            if event is not None:
                events.append(event)
        return events

    def set_output(self, name: str, value: float) -> None:
        """Ask for a value; the latest wins, and failure shows in `output`."""
        self._update(name, asked=value, error=None)
        try:
            pending = _Pending(next(self._correlations) % _U16, shortest(value))
        except OverflowError:
            self._fail(name, f"{value:g} does not fit a 32-bit float")
        else:
            self._pending[name] = pending
            self._update(name, asked=pending.value)

    def output(self, name: str) -> OutputState:
        """What is known of one output, asked for or reported."""
        state = self._outputs.get(name, OutputState())
        settled = state.error is None and name not in self._pending
        if not settled or None in (state.asked, state.reported) or state.asked == state.reported:
            return state
        text = f"the board reports {state.reported:g}: it was reset, or its dead-man switch has acted"
        return replace(state, error=text)

    def due_ns(self) -> int:
        """When `poll` will have something to send."""
        dues = [] if self._ask_due_ns is None else [self._ask_due_ns]
        if self.greeted:
            dues.append(self._heartbeat_due_ns)
            dues += [p.due_ns for p in self._pending.values()]
        return min(dues)

    def poll(self, now_ns: int) -> bytes:
        """The bytes to send now; b"" if nothing is due."""
        out: list[Message] = []
        if self._ask_due_ns is not None and now_ns >= self._ask_due_ns:
            self._ask_due_ns = now_ns + ASK_EVERY_NS
            out.append(HelloRequest(PROTOCOL_VERSION, PROTOCOL_VERSION))
        if self.hello and self.greeted and now_ns >= self._heartbeat_due_ns:
            self._heartbeat_due_ns = now_ns + self.hello.failsafe_ms * NS_PER_MS // HEARTBEATS_PER_FAILSAFE
            out.append(HostHeartbeat())
        if self.greeted:
            out += self._due_sets(now_ns)
        data = b"".join(encode(message) for message in out)
        if data and self._opening:
            self._opening = False
            return DELIMITER + data  # ends whatever half a frame the board still holds
        return data

    def _due_sets(self, now_ns: int) -> list[Set]:
        sets = []
        for name, pending in list(self._pending.items()):
            index = self._index(name)
            if index is None:
                self._fail(name, f"the board has no output {name!r}; it has: {self._output_names()}")
            elif now_ns < pending.due_ns:
                continue
            elif pending.tries == SET_TRIES:
                self._fail(name, f"the board did not acknowledge in {SET_TRIES * SET_RETRY_NS / 1e9:g} s")
            else:
                self.counters["set_retries"] += pending.tries > 0
                pending.tries += 1
                pending.due_ns = now_ns + SET_RETRY_NS
                sets.append(Set(pending.correlation, index, pending.value, 0))
        return sets

    def _understand(self, message: Message, now_ns: int) -> Event | None:
        match message:
            case Hello():
                return self._on_hello(message, now_ns)
            case Heartbeat():
                self._on_heartbeat(message, now_ns)
            case Samples():
                return self._on_samples(message, now_ns)
            case Ack():
                self._on_ack(message, now_ns)
            case _:
                raise Malformed("a message of the host's own: the line echoes")
        return None

    def _on_hello(self, hello: Hello, now_ns: int) -> Event | None:
        known, self.hello = self.hello, hello
        reset = self._note_uptime(hello.uptime_ms) or self._was_reset
        other = known is not None and replace(known, uptime_ms=hello.uptime_ms) != hello
        self._ask_due_ns, self._was_reset = None, False
        if self.greeted and not reset and not other:
            return None
        if reset or other:
            self._next_seq = self._last_seq = None
        self.greeted = True
        self._heartbeat_due_ns = now_ns
        return Greeted(hello, reset)

    def _note_uptime(self, uptime_ms: int) -> bool:
        """Keep the board's uptime; True if it went back (modulo its wrap): the board was reset."""
        back = self._uptime_ms is not None and (uptime_ms - self._uptime_ms) % _U32 >= _U32 // 2
        self._uptime_ms = uptime_ms
        self.counters["resets"] += back
        return back

    def _on_heartbeat(self, heartbeat: Heartbeat, now_ns: int) -> None:
        if not self.hello or not self.greeted:
            return
        if len(heartbeat.outputs) != len(self.hello.outputs):
            raise Malformed("HEARTBEAT has another number of outputs than HELLO")
        if self._note_uptime(heartbeat.uptime_ms):  # its HELLO was lost
            self.greeted, self._was_reset, self._ask_due_ns = False, True, now_ns
            return
        self.counters["failsafes"] = heartbeat.failsafes
        for info, value in zip(self.hello.outputs, heartbeat.outputs, strict=True):
            self._update(info.name, reported=value.value, changes=value.changes)

    def _on_samples(self, samples: Samples, now_ns: int) -> Event | None:
        if not self.hello or not self.greeted:
            return None
        if not samples.data or len(samples.data) != samples.count * len(self.hello.channels) * SAMPLE_BYTES:
            raise Malformed(f"SAMPLES says {samples.count} samples and has {len(samples.data)} bytes of them")
        if self._next_seq is None:
            self._next_seq, self._dropped = samples.seq, samples.dropped
        lost = (samples.seq - self._next_seq) % _U32
        if lost >= _U32 // 2:
            if samples.seq == self._last_seq:
                self.counters["duplicate_frames"] += 1
            else:  # late, or the first sign of a reset
                self.counters["late_frames"] += 1
                self._ask_due_ns = now_ns
            return None
        by_board = min((samples.dropped - self._dropped) % _U32, lost)
        self.counters["samples_dropped_by_board"] += by_board
        self.counters["samples_lost_on_line"] += lost - by_board
        self._last_seq, self._next_seq = samples.seq, (samples.seq + samples.count) % _U32
        self._dropped = samples.dropped
        return Burst(samples, lost)

    def _on_ack(self, ack: Ack, now_ns: int) -> None:
        name = next((n for n, p in self._pending.items() if p.correlation == ack.correlation), None)
        if name is None:
            self.counters["late_acks"] += 1
        elif ack.result == Result.DEAD_MAN:
            self._heartbeat_due_ns = now_ns  # it has not heard us; the SET is tried again
        elif ack.result == Result.OK:
            del self._pending[name]
            self._update(name, reported=ack.value)
        else:
            self._fail(name, self._refusal(name, ack.result))

    def _refusal(self, name: str, result: int) -> str:
        index = self._index(name)
        if result == Result.OUT_OF_RANGE and self.hello is not None and index is not None:
            info = self.hello.outputs[index]
            return f"the board refused the value; {name!r} takes {info.low:g} to {info.high:g}"
        return f"the board refused it (result {result})"

    def _fail(self, name: str, error: str) -> None:
        self.counters["set_failures"] += 1
        self._pending.pop(name, None)
        self._update(name, error=error)

    def _update(self, name: str, **changes: float | str | None) -> None:
        self._outputs[name] = replace(self._outputs.get(name, OutputState()), **changes)  # type: ignore[arg-type]

    def _index(self, name: str) -> int | None:
        outputs = self.hello.outputs if self.hello else ()
        return next((i for i, output in enumerate(outputs) if output.name == name), None)

    def _output_names(self) -> str:
        return ", ".join(o.name for o in self.hello.outputs) if self.hello and self.hello.outputs else "none"
