"""The child process in which a model runs: `python -m edgeagent.inference.worker`, started by the supervisor only.

It has three inherited descriptors: a SOCK_SEQPACKET socket, whose end-of-file is how it dies with its parent; a
memfd with float32: the window, the scores, how much was clipped; and a memfd with the model's bytes, which the parent
has checked. It opens no device, imports no more of the agent than it must (memory), and answers each packet with
one: OK and text, or FAULT and a fault's words as JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeagent.errors import Fault
from edgeagent.inference.backends import Model, open_model
from edgeagent.inference.delegates import Accelerator
from edgeagent.inference.sandbox import confine
from edgeagent.inference.tensors import Signature

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

PREDICT = b"p"
OK, FAULT = b"+", b"!"
ANSWER_BYTES = 8192
_SETTINGS_BYTES = 65536
_NAME = "edgeagent-model"
_KILL_FIRST = 500  # oom_score_adj: short of memory, the kernel is to take the worker and not the agent


class Settings(NamedTuple):
    """What the worker is told before it loads; the first packet, as JSON."""

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
            "signature": Signature(**words["signature"]),
            "accelerator": Accelerator(**words["accelerator"]),
        }
        return Settings(**words)


class Shared(NamedTuple):
    """What lies in the shared memory: float32[samples, channels], float32[labels], float32[1]."""

    values: Float32Array
    scores: Float32Array
    clipped: Float32Array


def shared_bytes(signature: Signature) -> int:
    """The size of the shared memory."""
    return 4 * (signature.samples * signature.channels + signature.labels + 1)


def map_shared(fd: int, signature: Signature) -> Shared:
    memory = np.frombuffer(mmap.mmap(fd, shared_bytes(signature)), dtype=np.float32)
    size = signature.samples * signature.channels
    values, scores, clipped = np.split(memory, [size, size + signature.labels])
    return Shared(values.reshape(signature.samples, signature.channels), scores, clipped)


def main(channel: int, tensors: int, model_file: int) -> None:
    """Load what the first packet describes, then answer until end-of-file."""
    _become_a_worker()
    settings = Settings.decode(os.read(channel, _SETTINGS_BYTES))
    unconfined = confine(settings.memory_bytes)
    try:
        with open(model_file, "rb") as file:
            data = file.read()
        model = open_model(settings.name, data, settings.signature, settings.threads, settings.accelerator)
    except Fault as e:
        os.write(channel, _fault(e))
        return
    os.write(channel, OK + json.dumps({"backend": model.backend, "unconfined": unconfined}).encode())
    _serve(channel, model, map_shared(tensors, settings.signature))


def _serve(channel: int, model: Model, shared: Shared) -> None:
    while os.read(channel, len(PREDICT)):
        try:
            shared.scores[:], shared.clipped[0] = model.predict(shared.values)
        except Fault as e:
            os.write(channel, _fault(e))
        else:
            os.write(channel, OK)


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
    main(*map(int, sys.argv[1:4]))
