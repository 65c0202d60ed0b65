"""The child process in which models run: `python -m edgeagent.inference.worker`, started by the supervisor only.

It inherits one SOCK_SEQPACKET socket, whose end-of-file is how it dies with its parent. A packet is a verb and the
number of a model:

    LOAD     then a packet of Settings as JSON, with two descriptors: a memfd with float32 (the window, the scores, how
             much was clipped, the state), and a memfd with the model's bytes, which the parent has checked
    PREDICT  what lies in the model's shared memory
    UNLOAD   the model, which is not answered

Each of the others is answered, in order, by the number, and OK with text or FAULT with a fault's words as JSON. It
opens no device, and imports no more of the agent than it must (memory).
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import Fault
from edgeagent.inference.backends import Model, open_model
from edgeagent.inference.delegates import Accelerator
from edgeagent.inference.sandbox import confine, limit_memory
from edgeagent.inference.tensors import Signature, State

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

LOAD, PREDICT, UNLOAD = b"l", b"p", b"u"
OK, FAULT = b"+", b"!"
NUMBER = struct.Struct("<H")
ANSWER_BYTES = 8192
_ASKED_BYTES = len(PREDICT) + NUMBER.size
_SETTINGS_BYTES = 65536
_NAME = "edgeagent-model"
_KILL_FIRST = 500  # oom_score_adj: short of memory, the kernel is to take the worker and not the agent


class Settings(NamedTuple):
    """What the worker is told before it loads a model; `memory_bytes` is for all models that are in it then."""

    name: str
    signature: Signature
    accelerator: Accelerator
    threads: int
    memory_bytes: int

    def encode(self) -> bytes:
        named = {"signature": self.signature._asdict(), "accelerator": self.accelerator._asdict()}
        return json.dumps(self._asdict() | named).encode()

    @staticmethod
    def decode(packet: bytes) -> Settings:
        words = json.loads(packet)
        words |= {
            "signature": _signature(**words["signature"]),
            "accelerator": Accelerator(**words["accelerator"]),
        }
        return Settings(**words)


def _signature(**words: Any) -> Signature:
    return Signature(**words)._replace(states=[State(*state) for state in words["states"]])


class Shared(NamedTuple):
    """What lies in the shared memory, as float32: [samples, channels], [labels], then [1], [1] and what is handed on.

    `anew` is not 0 where no `state` is given; afterwards the state is the one that the model gave.
    """

    values: Float32Array
    scores: Float32Array
    clipped: Float32Array
    anew: Float32Array
    state: Float32Array


def _shared_sizes(signature: Signature) -> list[int]:
    return [signature.samples * signature.channels, signature.labels, 1, 1, signature.state_size]


def shared_bytes(signature: Signature) -> int:
    """The size of the shared memory."""
    return 4 * sum(_shared_sizes(signature))


def map_shared(fd: int, signature: Signature) -> Shared:
    memory = np.frombuffer(mmap.mmap(fd, shared_bytes(signature)), dtype=np.float32)
    values, *rest = np.split(memory, np.cumsum(_shared_sizes(signature))[:-1])
    return Shared(values.reshape(signature.samples, signature.channels), *rest)


class _Hosted(NamedTuple):
    model: Model
    shared: Shared


class _Host:
    """The models of this process, by number."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._models: dict[int, _Hosted] = {}
        self._unconfined: list[str] | None = None

    def serve(self) -> None:
        """Answer until end-of-file."""
        channel = self._channel.fileno()
        while asked := os.read(channel, _ASKED_BYTES):
            verb, number = asked[:1], asked[1:]
            try:
                answer = self._answer(verb, *NUMBER.unpack(number))
            except Fault as e:
                answer = _fault(e)
            if answer:
                os.write(channel, number + answer)

    def _answer(self, verb: bytes, number: int) -> bytes:
        if verb == PREDICT:
            model, shared = self._models[number]
            state = None if shared.anew[0] else shared.state
            shared.scores[:], shared.clipped[0], shared.state[:] = model.predict(shared.values, state)
            return OK
        if verb == LOAD:
            return self._load(number)
        self._models.pop(number, None)
        return b""

    def _load(self, number: int) -> bytes:
        packet, files, _, _ = socket.recv_fds(self._channel, _SETTINGS_BYTES, 2)
        settings, (tensors, model_file) = Settings.decode(packet), files
        with open(tensors, "rb"), open(model_file, "rb") as file:
            shared, data = map_shared(tensors, settings.signature), file.read()
        unconfined = self._confine(settings.memory_bytes)
        model = open_model(settings.name, data, settings.signature, settings.threads, settings.accelerator)
        self._models[number] = _Hosted(model, shared)
        return OK + json.dumps({"backend": model.backend, "unconfined": unconfined}).encode()

    def _confine(self, memory_bytes: int) -> list[str]:
        """Before the first model all of it, later only the memory. Returns what could not be had."""
        if self._unconfined is None:
            self._unconfined = confine(memory_bytes)
        elif not any(words.startswith("RLIMIT_AS") for words in self._unconfined):
            limit_memory(memory_bytes)
        return self._unconfined


def main(channel: int) -> None:
    """Serve the parent."""
    _become_a_worker()
    with socket.socket(fileno=channel) as parent:
        _Host(parent).serve()


def _become_a_worker() -> None:
    """Signals meant for the agent's whole group are not for us: the socket ends us, or SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("/proc/self/comm").write_text(_NAME)
    sooner = Path("/proc/self/oom_score_adj")
    sooner.write_text(str(max(int(sooner.read_text()), _KILL_FIRST)))  # to lower it is not allowed


def _fault(e: Fault) -> bytes:
    words = {"kind": type(e).__name__, "what": e.what[:1000], "expected": e.expected, "hint": e.hint}
    return FAULT + json.dumps(words).encode()


if __name__ == "__main__":
    main(int(sys.argv[1]))
