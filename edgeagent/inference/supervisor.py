"""A model in a child process: what it does wrong costs one request, never the agent.

The only file that starts processes. Deadlines are in real time whatever the clock: a worker computes in no other.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.choices import Choice, Requested
from edgeagent.inference.engine import Loaded, ModelEngine, signature
from edgeagent.inference.faults import AcceleratorFault, WorkerDied
from edgeagent.inference.tensors import Scored
from edgeagent.inference.worker import ANSWER_BYTES, FAULT, OK, PREDICT, Settings, map_shared, shared_bytes
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

LOAD_DEADLINE_S = 60.0  # a slow SD card, cold: numpy and LiteRT are 60 MB
MEMORY_BYTES = 512_000_000  # LiteRT with MobileNetV2 and all of Python needs 200 MB ...
_MODEL_COPIES = 3  # ... and a larger model is there as a file, as the runtime's buffer, and as packed weights
_GRACE_S = 1.0  # from end-of-file to the exit code
# One thread of ours computes: no pools and arenas for others. A crash is told by its signal, not by a traceback.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONFAULTHANDLER": ""}


class Supervisor(ModelEngine):
    """The engine of `isolation: process`.

    Args:
        bundle, requested, clock: As in `ModelEngine`.
        deadline_s: A request that takes longer is taken for hung, and its worker killed.
        threads: The runtime's.
        memory_bytes: How large the worker's address space may become, beside three times its model.
    """

    def __init__(
        self,
        bundle: Bundle,
        requested: Requested,
        clock: Clock,
        deadline_s: float = 2.0,
        threads: int = 1,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        super().__init__(bundle, requested, clock)
        self._deadline_s = deadline_s
        self._threads, self._memory_bytes = threads, memory_bytes

    def _make_runner(self, choice: Choice) -> _Child:
        model = choice.variant.read()
        settings = Settings(
            choice.variant.name,
            signature(self.bundle),
            choice.accelerator,
            self._threads,
            self._memory_bytes + _MODEL_COPIES * len(model),
        )
        try:
            return _Child(str(choice), model, settings, self._deadline_s)
        except OSError as e:
            raise InferenceFault(f"no process can be started for {choice} ({e})") from e


class _Child:
    """One worker process and what is shared with it."""

    def __init__(self, name: str, model: bytes, settings: Settings, deadline_s: float) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._has_delegate = bool(settings.accelerator.library)
        with ExitStack() as handed, ExitStack() as kept:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.enter_context(self._socket)
            handed.enter_context(theirs)
            shared = handed.enter_context(_memory("tensors", b"\0" * shared_bytes(settings.signature)))
            model_file = handed.enter_context(_memory("model", model))
            self._shared = map_shared(shared.fileno(), settings.signature)
            stderr_fd, words_fd = os.pipe()
            self._stderr = kept.enter_context(open(stderr_fd, "rb", buffering=0))
            words = handed.enter_context(open(words_fd, "wb", buffering=0))
            os.set_blocking(stderr_fd, False)
            os.set_blocking(words_fd, False)  # whoever fills it loses words, and does not hang
            self._socket.send(settings.encode())
            self._process = _spawn((theirs.fileno(), shared.fileno(), model_file.fileno()), words)
            self._kept = kept.pop_all()
        self.pid = self._process.pid

    def is_ready(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def load(self) -> Loaded:
        self._socket.settimeout(LOAD_DEADLINE_S)
        loaded = Loaded(**json.loads(self._receive("loading")))
        self._socket.settimeout(self._deadline_s)
        return loaded

    def predict(self, values: Float32Array) -> Scored:
        self._shared.values[:] = values
        self._send(PREDICT)
        self._receive("predicting")
        return Scored(self._shared.scores.copy(), float(self._shared.clipped[0]))

    def abort(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End of file first for one that holds an accelerator: a Coral that was cut off wants to be replugged."""
        self._socket.close()
        if self._has_delegate:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._process.kill()
        self._process.wait()
        self._kept.close()

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except OSError:
            raise self._death("idle") from None

    def _receive(self, doing: str) -> str:
        """The text of the worker's answer. Raises what it answered, or InferenceFault for its death or silence."""
        try:
            reply = self._socket.recv(ANSWER_BYTES)
        except TimeoutError:
            raise self._silence(doing) from None
        except OSError:
            reply = b""
        if not reply:
            raise self._death(doing)
        if reply[:1] == FAULT:
            words = json.loads(reply[len(FAULT) :])
            raise _FAULTS[words.pop("kind")](**words)
        return reply[len(OK) :].decode()

    def _silence(self, doing: str) -> InferenceFault:
        self._process.kill()
        what = (
            f"the worker hung while {doing} with {self._name}: no answer within {self._socket.gettimeout():g} s, "
            "so it was killed"
        )
        if doing == "loading":
            return AcceleratorFault(what)
        return InferenceFault(what, hint="A model that is slow but sound needs a longer inference.deadline")

    def _death(self, doing: str) -> InferenceFault:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        kind = InferenceFault if code == -signal.SIGKILL else WorkerDied
        return kind(
            f"the worker died while {doing} with {self._name} ({_how(code)}{self._last_words()})",
            hint=_HINTS.get(-code, ""),
        )

    def _last_words(self) -> str:
        """The last line that the worker wrote, after a colon; "" if it wrote none."""
        lines = (self._stderr.read(ANSWER_BYTES) or b"").decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip() and not line.startswith("INFO:")]
        return f": {said[-1]}" if said else ""


_FAULTS = {kind.__name__: kind for kind in (BundleFault, AcceleratorFault, InferenceFault)}
_HINTS: dict[int, str] = {
    signal.SIGSEGV: "The model file is malformed, or a delegate does not fit the runtime",
    signal.SIGABRT: "The model file is malformed, or asks for more memory than it may have",
    signal.SIGKILL: "If nobody killed it, the machine ran out of memory: see dmesg",
}


def _spawn(handed: tuple[int, int, int], words: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "edgeagent.inference.worker", *map(str, handed)],
        pass_fds=handed,
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        env={**os.environ, **_ENVIRONMENT},
        process_group=0,  # Ctrl-C on the terminal is for the agent
    )


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _memory(name: str, content: bytes) -> BinaryIO:
    """Anonymous memory as a file, its offset at 0."""
    file = open(os.memfd_create(name), "w+b")  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file
