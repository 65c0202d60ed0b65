"""With how many threads a model is computed: `threads: auto` tries it once on this board, and remembers.

More threads are not always quicker: two made small int8 models 6 to 14 times slower on tflite-runtime, and a model of
20 µs on any runtime. And they take cores from what else runs here. So each doubling must save a fifth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Threads: TypeAlias = int | Literal["auto"]
"""As the config has it."""

WORTH_NS = 1_000_000  # what one thread does sooner is not shared among several
MUST_SAVE = 0.2
_FEWEST_ROUNDS, _MOST_ROUNDS, _ROUNDS_NS = 3, 10, 1_000_000_000
_BOARD = (
    re.compile(r"^Model\s*:\s*(.+)$", re.MULTILINE),
    re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE),
)


class Pin(msgspec.Struct, frozen=True):
    """What was found: the number of threads, and why. It holds for one runtime on one `board`."""

    threads: int
    why: str
    runtime: str
    board: str


class Pins:
    """What was found for each model, by its file's SHA-256; from any thread.

    Args:
        file: Where to remember it, None for as long as this process lives. One that cannot be read or written only
            costs a measurement at the next start.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._lock = file, Lock()
        self._pins: dict[str, Pin] = {}
        if file is not None:
            with suppress(OSError, msgspec.MsgspecError):
                self._pins = msgspec.json.decode(file.read_bytes(), type=dict[str, Pin])

    def find(self, sha256: str) -> Pin | None:
        """What holds for a model on this board."""
        pin = self._pins.get(sha256)
        return pin if pin is not None and pin.board == board() else None

    def keep(self, sha256: str, pin: Pin) -> None:
        with self._lock:
            self._pins[sha256] = pin
            self._write()

    def forget(self, sha256: str) -> None:
        with self._lock:
            self._pins.pop(sha256, None)
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        young = self._file.with_name(f"{self._file.name}.tmp")
        with suppress(OSError):
            young.write_bytes(msgspec.json.format(msgspec.json.encode(self._pins)))
            young.replace(self._file)


class Found(NamedTuple):
    """A number of threads, and why it is that."""

    threads: int
    why: str


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def worth_trying() -> list[int]:
    """1, 2, 4, as far as there are cores."""
    return [n for n in (1, 2, 4) if n <= cores()]


def board(proc: Path = Path("/proc")) -> str:
    """The machine, and how many cores of it are ours: `Raspberry Pi 4 Model B Rev 1.4, 4 cores`."""
    text, name = "", os.uname().machine
    with suppress(OSError):
        text = (proc / "cpuinfo").read_text()
    found = next((match for wanted in _BOARD if (match := wanted.search(text))), None)
    return f"{found[1].strip() if found else name}, {cores()} cores"


def in_turns(*calls: Callable[[], int]) -> list[int]:
    """The median of what each of several calls says it took, in ns; whatever else the board does falls on all alike."""
    first_ns = max(call() for call in calls)
    rounds = min(max(_ROUNDS_NS // max(first_ns, 1), _FEWEST_ROUNDS), _MOST_ROUNDS)
    taken = [[call() for call in calls] for _ in range(rounds)]
    return [sorted(each)[rounds // 2] for each in zip(*taken, strict=True)]
