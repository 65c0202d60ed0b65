"""Models in child processes: what one does wrong costs its requests, never the agent.

Models share a worker by accelerator: a process costs 31 MB, and an Edge TPU can be opened by one only. When a worker
dies, what it was computing is taken for the cause; its neighbours are loaded into another one at their next request.
A model that crashed its worker, or hung, has a worker to itself from then on, where it is on the CPU.

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
from collections import deque
from contextlib import ExitStack, suppress
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.choices import Choice, Requested
from edgeagent.inference.delegates import Accelerator
from edgeagent.inference.engine import Loaded, ModelEngine, signature
from edgeagent.inference.faults import AcceleratorFault, Displaced, WorkerDied, WorkerHung
from edgeagent.inference.tensors import Scored
from edgeagent.inference.threads import Pins, Threads
from edgeagent.inference.worker import (
    ANSWER_BYTES,
    FAULT,
    LOAD,
    NUMBER,
    OK,
    PREDICT,
    UNLOAD,
    Settings,
    map_shared,
    shared_bytes,
)
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

LOAD_DEADLINE_S = 60.0  # a slow SD card, cold: numpy and LiteRT are 60 MB
MEMORY_BYTES = 512_000_000  # LiteRT with MobileNetV2 and all of Python needs 200 MB ...
_MODEL_COPIES = 3  # ... and a larger model is there as a file, as the runtime's buffer, and as packed weights
_NUMBERS = 1 << 16
_GRACE_S = 1.0  # from end-of-file to the exit code
# One thread of ours computes: no pools and arenas for others. A crash is told by its signal, not by a traceback.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONFAULTHANDLER": ""}


class Supervisor(ModelEngine):
    """The engine of `isolation: process`.

    Args:
        bundle, requested, clock, threads, pins: As in `ModelEngine`.
        deadline_s: A request that takes longer is taken for hung, and its worker killed.
        memory_bytes: How large a worker's address space may become, beside three times its models.
        workers: Those of the agent, to share.
        apart: On the CPU it gets a worker to itself from the first.
    """

    def __init__(
        self,
        bundle: Bundle,
        requested: Requested,
        clock: Clock,
        deadline_s: float = 2.0,
        threads: Threads = 1,
        memory_bytes: int = MEMORY_BYTES,
        workers: Workers | None = None,
        pins: Pins | None = None,
        *,
        apart: bool = False,
    ) -> None:
        super().__init__(bundle, requested, clock, threads, pins)
        self._deadline_s = deadline_s
        self._memory_bytes = memory_bytes
        self._workers = workers or Workers()
        self._apart = apart

    @property
    def device(self) -> str:
        shared = super().device
        return f"{shared} for {self.bundle.folder}" if self._is_apart(self._choice) else shared

    def _is_apart(self, choice: Choice) -> bool:
        """A delegate's device may be one that only one process can have."""
        return self._apart and choice.accelerator.is_cpu

    def _failed(self, choice: Choice, fault: BundleFault | InferenceFault) -> None:
        self._apart |= isinstance(fault, WorkerDied | WorkerHung)
        super()._failed(choice, fault)

    def _make_runner(self, choice: Choice, threads: int) -> _Hosted:
        model = choice.variant.read()
        settings = Settings(
            choice.variant.name, signature(self.bundle), choice.accelerator, threads, self._memory_bytes
        )
        apart = self._is_apart(choice)
        try:
            return self._workers.host(str(choice), model, settings, self._deadline_s, apart=apart)
        except OSError as e:
            raise InferenceFault(f"no process can be started for {choice} ({e})") from e


class Workers:
    """The worker processes that models share, one an accelerator."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._shared: dict[str, _Worker] = {}

    def host(self, name: str, model: bytes, settings: Settings, deadline_s: float, *, apart: bool) -> _Hosted:
        """Begin to load a model, in a new worker if there is none for it. Raises OSError."""
        accelerator = settings.accelerator
        device = json.dumps([accelerator.library, accelerator.provider, sorted(accelerator.options.items())])
        with self._lock:
            worker = None if apart else self._shared.get(device)
            place = worker.admit(name, len(model)) if worker is not None else None
            if worker is None or place is None:
                worker = _Worker(accelerator)
                place = worker.admit(name, len(model))
                assert place is not None
                if not apart:
                    self._shared[device] = worker
        return _Hosted(worker, place, name, model, settings, deadline_s)


class _Hosted:
    """One model in a worker, and the memory that it shares with it."""

    def __init__(
        self, worker: _Worker, number: int, name: str, model: bytes, settings: Settings, deadline_s: float
    ) -> None:
        self._worker, self._number, self._deadline_s = worker, number, deadline_s
        self._request = PREDICT + NUMBER.pack(number)
        self.pid = worker.pid
        try:
            with (
                _memory("tensors", b"\0" * shared_bytes(settings.signature)) as shared,
                _memory("model", model) as file,
            ):
                self._shared = map_shared(shared.fileno(), settings.signature)
                worker.load(number, settings, [shared.fileno(), file.fileno()])
        except BaseException:
            worker.leave(number)
            raise

    def is_ready(self) -> bool:
        return self._worker.has_answered(self._number)

    def load(self) -> Loaded:
        return Loaded(**json.loads(self._worker.loaded(self._number)))

    def predict(self, values: Float32Array, state: Float32Array | None) -> Scored:
        shared = self._shared
        shared.values[:] = values
        shared.anew[0] = state is None
        if state is not None:
            shared.state[:] = state
        self._worker.ask(self._number, self._request, self._deadline_s)
        return Scored(shared.scores.copy(), float(shared.clipped[0]), shared.state.copy())

    def abort(self) -> None:
        self._worker.kill()

    def close(self) -> None:
        self._worker.leave(self._number)


class _Asked(NamedTuple):
    """What a worker was asked and has not answered yet."""

    number: int
    doing: str


class _Tenant(NamedTuple):
    name: str
    size_bytes: int


class _Worker:
    """One worker process. Any thread may ask; one is answered at a time, so a device never computes two at once."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._has_delegate = not accelerator.is_cpu
        self._numbers = count()
        self._tenants: dict[int, _Tenant] = {}
        self._door = Lock()  # who comes and goes; may be taken while talking, and not the other way round
        self._talk = Lock()  # held from a question to its answer
        self._asked: deque[_Asked] = deque()
        self._answers: dict[int, bytes] = {}
        self._ended = False
        self._culprit: int | None = None
        self._obituary: InferenceFault | None = None
        with ExitStack() as kept:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.enter_context(self._socket)
            stderr_fd, words_fd = os.pipe()
            self._stderr = kept.enter_context(open(stderr_fd, "rb", buffering=0))
            with theirs, open(words_fd, "wb", buffering=0) as words:
                os.set_blocking(stderr_fd, False)
                os.set_blocking(words_fd, False)  # whoever fills it loses words, and does not hang
                self._process = _spawn(theirs.fileno(), words)
            self._kept = kept.pop_all()
        self.pid = self._process.pid

    # --- who is in it ---------------------------------------------------------------------------------

    def admit(self, name: str, size_bytes: int) -> int | None:
        """The number of a new model; None if this worker takes no more."""
        with self._door:
            if self._ended or self._process.poll() is not None or (number := next(self._numbers)) >= _NUMBERS:
                return None
            self._tenants[number] = _Tenant(name, size_bytes)
            return number

    def leave(self, number: int) -> None:
        """The model is let go of; with the last one the process ends."""
        with self._door:
            self._tenants.pop(number, None)
            self._answers.pop(number, None)
            is_last, self._ended = not self._tenants and not self._ended, not self._tenants
            if self._tenants:
                with suppress(OSError):
                    self._socket.send(UNLOAD + NUMBER.pack(number))
        if is_last:
            self._end()

    def kill(self) -> None:
        self._process.kill()

    def _end(self) -> None:
        """End of file first for one that holds an accelerator: a Coral that was cut off wants to be replugged."""
        self._socket.close()
        if self._has_delegate:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._process.kill()
        self._process.wait()
        self._kept.close()

    # --- question and answer --------------------------------------------------------------------------

    def load(self, number: int, settings: Settings, files: list[int]) -> None:
        """Begin to; `loaded` has the answer."""
        with self._talk, self._door:  # two packets, and none between them
            tenants = self._tenants.values()
            memory_bytes = settings.memory_bytes + _MODEL_COPIES * sum(one.size_bytes for one in tenants)
            self._asked.append(_Asked(number, "loading"))
            with suppress(OSError):  # it died: whoever asks for the answer is told
                self._socket.send(LOAD + NUMBER.pack(number))
                socket.send_fds(self._socket, [settings._replace(memory_bytes=memory_bytes).encode()], files)

    def loaded(self, number: int) -> str:
        """What the worker says of a model that it has loaded."""
        with self._talk:
            return self._answer(number, LOAD_DEADLINE_S)

    def ask(self, number: int, packet: bytes, deadline_s: float) -> None:
        with self._talk:
            self._mourn(number)
            try:
                self._socket.send(packet)
            except OSError:
                self._note_death()
                self._mourn(number)
            self._asked.append(_Asked(number, "predicting"))
            self._answer(number, deadline_s)

    def has_answered(self, number: int) -> bool:
        """Whether what was asked is answered, or never will be."""
        if self._talk.acquire(blocking=False):
            try:
                while self._obituary is None and select.select([self._socket], [], [], 0)[0]:
                    self._receive(None)
            finally:
                self._talk.release()
        return number in self._answers or self._obituary is not None

    def _answer(self, number: int, deadline_s: float) -> str:
        """The text of the answer. Raises what it answered, or InferenceFault for the worker's death or silence."""
        while number not in self._answers:
            self._mourn(number)
            self._receive(deadline_s)
        answer = self._answers.pop(number)
        if answer[:1] == FAULT:
            words = json.loads(answer[len(FAULT) :])
            raise _FAULTS[words.pop("kind")](**words)
        return answer[len(OK) :].decode()

    def _receive(self, deadline_s: float | None) -> None:
        """Take in one answer, whoever waits for it. While a neighbour is being loaded, all wait as long as for that."""
        if len(self._asked) > 1:  # a prediction is asked for alone
            deadline_s = LOAD_DEADLINE_S
        if deadline_s != self._socket.gettimeout():  # to set it is a call to the kernel
            self._socket.settimeout(deadline_s)
        try:
            packet = self._socket.recv(ANSWER_BYTES)
        except TimeoutError:
            self._note_silence()
            return
        except OSError:
            packet = b""
        if not packet:
            self._note_death()
            return
        (number,) = NUMBER.unpack(packet[: NUMBER.size])
        self._asked.popleft()
        if number in self._tenants:
            self._answers[number] = packet[NUMBER.size :]

    # --- its end --------------------------------------------------------------------------------------

    def _mourn(self, number: int) -> None:
        """Raise the worker's death, if it is dead: as the model's own deed, or as its neighbour's."""
        if self._obituary is None:
            return
        if self._culprit is None:  # it was idle: the first to ask for something has to answer for it
            self._culprit = number
        if self._culprit == number:
            raise self._obituary
        raise Displaced(f"another model took the worker with it: {self._obituary.what}")

    def _note_silence(self) -> None:
        self._process.kill()
        doing = self._suspect()
        self._obituary = WorkerHung(
            f"the worker hung while {doing}: no answer within {self._socket.gettimeout():g} s, so it was killed",
            hint="A model that is slow but sound needs a longer inference.deadline",
        )
        if doing.startswith("loading"):
            self._obituary = AcceleratorFault(self._obituary.what)

    def _note_death(self) -> None:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        kind = InferenceFault if code == -signal.SIGKILL else WorkerDied
        self._obituary = kind(
            f"the worker died while {self._suspect()} ({_how(code)}{self._last_words()})",
            hint=_HINTS.get(-code, ""),
        )

    def _suspect(self) -> str:
        """What it was doing: the first that it has not answered."""
        if not self._asked:
            return "idle"
        number, doing = self._asked[0]
        self._culprit = number
        tenant = self._tenants.get(number)
        return f"{doing} with {tenant.name if tenant else 'a model that is gone'}"

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


def _spawn(handed: int, words: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "edgeagent.inference.worker", str(handed)],
        pass_fds=(handed,),
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
