"""Messages in words, for a monitor and for logs."""

from __future__ import annotations

import struct

from firmware_bridge.messages import (
    Ack,
    ConfigAck,
    Fault,
    FaultKind,
    Heartbeat,
    Hello,
    Level,
    Log,
    Message,
    Result,
    Samples,
    Set,
    Time,
    TimeRequest,
)
from firmware_bridge.samples import enabled, readings

_RESULTS = {
    Result.OK: "done",
    Result.NO_SUCH_OUTPUT: "there is no such output",
    Result.OUT_OF_RANGE: "out of range",
    Result.DEAD_MAN: "refused: the board has no heartbeat of a host",
}


def in_words(message: Message, hello: Hello | None) -> str:
    """What a message of the board says, in a line; numbers in the units that `hello` gives them."""
    match message:
        case Hello():
            return _hello(message)
        case Samples() if hello is not None:
            return _samples(message, hello)
        case Heartbeat() if hello is not None:
            return _heartbeat(message, hello)
        case Log():
            return log_text(message)
        case Fault():
            return fault_text(message, hello)
    return _exchange(message, hello)


def _exchange(message: Message, hello: Hello | None) -> str:
    """A request or its answer."""
    match message:
        case Set():
            limit = f" for {message.max_on_ms / 1000:g} s at most" if message.max_on_ms else ""
            return f"{_output(message.output, hello)} := {message.value:g}{limit}"
        case Ack():
            return f"{_output(message.output, hello)} = {message.value:g}: {result_text(message.result)}"
        case ConfigAck():
            return f"{message.rate_hz:g} Hz, channels {message.enabled:b}: {result_text(message.result)}"
        case TimeRequest():
            return f"id {message.id}"
        case Time():
            return f"received at {message.received_us / 1e6:.6f} s, answered at {message.sent_us / 1e6:.6f} s"
    return ", ".join(f"{f.name} {getattr(message, f.name)}" for f in message.FIELDS)


def result_text(result: int) -> str:
    return _RESULTS[Result(result)] if result in set(Result) else f"result {result}"


def log_text(log: Log) -> str:
    level = Level(log.level).name.lower() if log.level in set(Level) else f"level {log.level}"
    return f"{level}: {log.text}"


def fault_text(fault: Fault, hello: Hello | None) -> str:
    what = {
        FaultKind.DEAD_MAN: "its dead-man switch has acted",
        FaultKind.MAX_ON: f"{_output(fault.index, hello)} is off: max_on ran out",
        FaultKind.CHANNEL: f"{_channel(fault.index, hello)} cannot be read",
        FaultKind.OVERRUN: "it could not keep up with its sample rate",
    }.get(FaultKind(fault.kind) if fault.kind in set(FaultKind) else FaultKind.OTHER, "fault")
    return f"{what} ({fault.text})" if fault.text else what


def _hello(hello: Hello) -> str:
    channels = ", ".join(f"{c.name} [{c.unit}]{'' if c.enabled else ' off'}" for c in hello.channels)
    rate = f" at {hello.channels[0].rate_hz:g} Hz" if hello.channels else ""
    outputs = ", ".join(f"{o.name} {o.low:g}..{o.high:g}, safe {o.safe:g}" for o in hello.outputs)
    return (
        f"{hello.firmware} {hello.firmware_version} (build {hello.build_id}) on {hello.unique_id}, "
        f"up {hello.uptime_ms / 1000:.1f} s; channels: {channels or 'none'}{rate}; outputs: {outputs or 'none'}"
    )


def _samples(samples: Samples, hello: Hello) -> str:
    try:
        first = readings(hello, samples)[0]
    except (KeyError, IndexError, struct.error):
        return f"seq {samples.seq}: {len(samples.data)} bytes that do not fit HELLO"
    values = "  ".join(
        f"{c.name} {'no reading' if v is None else f'{v:g} {c.unit}'}"
        for c, v in zip(enabled(hello), first, strict=True)
    )
    return f"seq {samples.seq} x {samples.count}  {values}"


def _heartbeat(heartbeat: Heartbeat, hello: Hello) -> str:
    values = "  ".join(
        f"{o.name} = {v.value:g} ({v.changes} changes)"
        for o, v in zip(hello.outputs, heartbeat.outputs, strict=False)
    )
    return f"up {heartbeat.uptime_ms / 1000:.1f} s  {values}  failsafes {heartbeat.failsafes}"


def _output(index: int, hello: Hello | None) -> str:
    there = hello.outputs if hello else ()
    return there[index].name if index < len(there) else f"output {index}"


def _channel(index: int, hello: Hello | None) -> str:
    there = hello.channels if hello else ()
    return there[index].name if index < len(there) else f"channel {index}"
