"""Malformed models by the thousand, through the real supervisor and the real worker: `make fuzz-models`.

Each mutant is tried twice. As it is, under the bundle's hash: it must never reach a worker. And under its own hash, as
an attacker or a broken converter would deliver it: it may be refused, fail its golden vectors, crash or hang its
worker, or even compute the right thing; the agent must go on. Mutant N is always the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from tiny import classifier, qdq_classifier, windows, write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import supervisor, worker
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.faults import WorkerDied
from edgeagent.inference.supervisor import Supervisor

MODELS: dict[str, Callable[[], bytes]] = {"tflite": classifier, "onnx": qdq_classifier}
DEADLINE_S = 1.0
INTEGERS = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    11_000_000_000 & 0xFFFFFFFF,
)


def cut(model: bytearray, dice: random.Random) -> None:
    del model[dice.randrange(len(model)) :]


def flip_bits(model: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 8)):
        model[dice.randrange(len(model))] ^= 1 << dice.randrange(8)


def scatter_bytes(model: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 16)):
        model[dice.randrange(len(model))] = dice.randrange(256)


def overwrite_integer(model: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(model) // 4) * 4
    model[at : at + 4] = dice.choice(INTEGERS).to_bytes(4, "little")


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    cut,
    flip_bits,
    scatter_bytes,
    overwrite_integer,
)


def mutant(model: bytes, number: int) -> bytes:
    """A model that is not the one it was made from."""
    dice = random.Random(number)
    changed = bytearray(model)
    while bytes(changed) == model:
        MUTATIONS[number % len(MUTATIONS)](changed, dice)
    return bytes(changed)


class Forked:
    """A worker that was forked from this process, which has all the imports behind it: 10 ms instead of 300."""

    count = 0

    def __init__(self, handed: int, words: BinaryIO) -> None:
        Forked.count += 1
        self.pid = os.fork()
        self._code: int | None = None
        if self.pid == 0:
            try:
                os.dup2(words.fileno(), 1)
                os.dup2(words.fileno(), 2)
                worker.main(handed)
            except BaseException as e:
                os.write(2, f"{type(e).__name__}: {e}\n".encode())
                os._exit(1)
            os._exit(0)

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self._ended(0 if until is None else os.WNOHANG)) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
        return code

    def _ended(self, options: int) -> int | None:
        """How it ended; it is asked once, for then the kernel forgets it."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def outcome(bundle: Bundle) -> str:
    """What becomes of an agent's first prediction by this bundle, in a word; never an exception."""
    engine = Supervisor(bundle, "cpu", VirtualClock(10**15), deadline_s=DEADLINE_S)
    try:
        engine.start()
        engine.predict(windows(1)[0])
    except WorkerDied:
        return "crashed"
    except BundleFault as e:
        return "not golden" if "golden vectors" in str(e) else "refused"
    except InferenceFault as e:
        return "hung" if "hung" in str(e) else "failed"
    else:
        return "golden"
    finally:
        engine.close()


def fuzz(model_format: str, numbers: range, folder: Path, say: Callable[[str], None]) -> dict[str, object]:
    """Try these mutants. The counts of what became of them, and of those that ran under a hash not theirs."""
    model = MODELS[model_format]()
    bundle = write_bundle(folder, [model], suffix=model_format)
    variant = bundle.variants[0]
    found: Counter[str] = Counter()
    ran_unhashed, last = 0, time.monotonic()
    for number in numbers:
        data = mutant(model, number)
        variant.file.write_bytes(data)
        before = Forked.count
        refused = outcome(bundle)
        ran_unhashed += refused != "refused" or Forked.count > before
        honest = msgspec.structs.replace(variant, sha256=hashlib.sha256(data).hexdigest())
        found[outcome(msgspec.structs.replace(bundle, variants=(honest,)))] += 1
        if time.monotonic() - last > 2:
            last = time.monotonic()
            say(f"{number - numbers.start + 1} of {len(numbers)}: {dict(found)}")
    variant.file.write_bytes(model)
    return {
        "mutants": len(numbers),
        "outcomes": dict(found),
        "ran_unhashed": ran_unhashed,
        "workers": Forked.count,
        "well_afterwards": outcome(bundle) == "golden",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=MODELS, default="tflite")
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    options = parser.parse_args()
    runtime = "onnxruntime" if options.format == "onnx" else "edgeagent.inference.tflite"
    importlib.import_module(runtime)
    supervisor._spawn = Forked  # type: ignore[assignment] # quicker, and otherwise the same
    numbers = range(options.first, options.first + options.mutants)
    with tempfile.TemporaryDirectory() as folder:
        result = fuzz(
            options.format, numbers, Path(folder), lambda text: print(text, file=sys.stderr, flush=True)
        )
    print(json.dumps(result))
    sys.exit(result["ran_unhashed"] != 0 or not result["well_afterwards"])


if __name__ == "__main__":
    main()
