"""What a bundle costs on this board, and how right it is: the figures of `edgeagent model bench`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from edgeagent.errors import BundleFault, DeviceFault, Fault, InferenceFault, disk
from edgeagent.inference import Answer, Engine
from edgeagent.inference.bundle import Bundle, Golden, Variant
from edgeagent.inference.choices import Choice, Requested, choices_for
from edgeagent.inference.delegates import CPU
from edgeagent.inference.describe import describe_variant
from edgeagent.inference.engine import signature
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.formats import ONNX
from edgeagent.inference.golden import load_golden
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tflite import find_runtime, quiet_stderr
from edgeagent.recording import Recording, label_between
from edgeagent.records import Float32Array
from edgeagent.timebase import Clock
from edgeagent.windows import decimate, fill, fit

MOST_S = 5.0
_PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)
_PERCENTILES = (50, 90, 99)
_ROUNDS = 10


class Latency(msgspec.Struct, frozen=True):
    """In µs."""

    p50: float
    p90: float
    p99: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one accelerator with so many threads.

    `raw`: the bare runtime with the input ready; `inline` and `process`: from a window to its scores
    by the two kinds of isolation. Raw and inline on the CPU only: an accelerator is not opened twice. `memory_bytes`:
    the worker's proportional set size. `accuracy`: over the `windows` of the bundle's held-out data that lie in one
    label, None if it has none. `golden_off`: the largest difference from the golden vectors. `trouble`: why there is
    nothing else. `stray`: it is a file from beside the bundle, only to compare with.
    """

    variant: str
    accelerator: str
    threads: int
    stray: bool = False
    size_bytes: int = 0
    quantization: str = ""
    backend: str = ""
    raw: Latency | None = None
    inline: Latency | None = None
    process: Latency | None = None
    memory_bytes: int | None = None
    golden_off: float | None = None
    accuracy: float | None = None
    windows: int = 0
    trouble: str = ""


Seen: TypeAlias = Float32Array | tuple[bytes, ...]
"""A window, or its pictures."""
Labelled: TypeAlias = tuple[Seen, str]


class Case(NamedTuple):
    """What is measured: a bundle of one variant, on what it is asked to run."""

    bundle: Bundle
    choice: Choice
    requested: Requested
    stray: bool = False


def cases(bundle: Bundle, requested: Sequence[Requested] = (), beside: Sequence[Path] = ()) -> Iterator[Case]:
    """Each variant on what it was made for; on each accelerator that a config asks for; and files from beside.

    Of a file from beside, such as the float model that the bundle's was made of, the bundle is told to be content with
    any golden vectors. Raises BundleFault if it cannot be read, or the bundle has nothing for what is requested.
    """
    for variant in bundle.variants:
        alone = msgspec.structs.replace(bundle, variants=(variant,))
        if variant.accelerator in ("cpu", "edgetpu"):
            yield Case(alone, choices_for(alone, "auto")[0], "auto")
    for asked in requested:
        choice = choices_for(bundle, asked)[0]
        yield Case(msgspec.structs.replace(bundle, variants=(choice.variant,)), choice, asked)
    for file in beside:
        try:
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as e:
            raise BundleFault(f"it cannot be read ({e.strerror})", where=str(file)) from e
        variant = Variant(file.name, file, sha256, "cpu")
        content = Golden(bundle.golden.file, math.inf)
        alone = msgspec.structs.replace(bundle, variants=(variant,), golden=content)
        yield Case(alone, Choice(variant, CPU), "cpu", stray=True)


def bench(cases: Iterable[Case], threads: Sequence[int], calls: int, clock: Clock) -> Iterator[Figures]:
    """Each case with each number of threads.

    Raises BundleFault if the golden vectors cannot be read, StorageFault if the held-out data cannot.
    """
    held_out: list[Labelled] | None = None
    for case in cases:
        if held_out is None:
            held_out = list(held_out_data(case.bundle))
        for n in threads if case.choice.accelerator.is_cpu else threads[:1]:
            blank = Figures(
                variant=case.choice.variant.name,
                accelerator=case.choice.accelerator.name,
                threads=n,
                stray=case.stray,
            )
            try:
                yield _measure(case, blank, calls, clock, held_out)
            except (BundleFault, InferenceFault, DeviceFault) as fault:  # a device's: what is no picture
                yield msgspec.structs.replace(blank, trouble=str(fault))


def held_out_data(bundle: Bundle) -> Iterator[Labelled]:
    """What a bundle carries to be tried on: windows of its `recording/`, or the files of its `pictures/`."""
    if bundle.task.labels:
        yield from _labelled_pictures(bundle) if bundle.layout.shape else labelled_windows(bundle)


def _labelled_pictures(bundle: Bundle) -> Iterator[Labelled]:
    """A picture a window; `brick-3.jpg` is one of brick."""
    if bundle.samples > 1:
        return
    with disk("the held-out pictures cannot be read", where=bundle.folder / "pictures"):
        for file in sorted((bundle.folder / "pictures").glob("*-*.*")):
            if (label := file.stem.rpartition("-")[0]) in bundle.task.labels:
                yield (file.read_bytes(),), label


def labelled_windows(bundle: Bundle) -> Iterator[tuple[Float32Array, str]]:
    """By the bundle's own hop, those that lie in one label."""
    folder = bundle.folder / "recording"
    if not folder.is_dir():
        return
    recording = Recording(folder)
    for sensor, layout in recording.header.sensors.items():
        try:
            factor, columns = fit(layout, bundle.layout, bundle.window_s)
        except Fault:
            continue
        t_ns, values = recording.series(sensor)
        length, hop = bundle.samples * factor, round(bundle.hop_s * layout.rate_hz)
        for start in range(0, len(values) - length + 1, hop):
            label = label_between(recording.header.labels, int(t_ns[start]), int(t_ns[start + length - 1]))
            cut = values[start : start + length, columns]
            if label is None or np.isnan(cut).any(axis=1).mean() > bundle.max_missing:
                continue
            yield decimate(fill(cut), factor) if factor > 1 else fill(cut), label


def _measure(case: Case, blank: Figures, calls: int, clock: Clock, held_out: list[Labelled]) -> Figures:
    """In turns, so that whatever else the board does falls on all alike."""
    bundle, (variant, accelerator), threads = case.bundle, case.choice, blank.threads
    golden = load_golden(bundle)
    window = golden.inputs[0]
    here = Inline(bundle, case.requested, clock, threads)
    child = Supervisor(bundle, case.requested, clock, threads=threads)
    with closing(here), closing(child):
        child.start()  # first: a model that crashes does it there
        status = child.status()
        if status["got"] != accelerator.name:
            raise AcceleratorFault(str(status["why"]))
        ask = _in_a_row(child)
        ways: dict[str, Callable[[], object]] = {"process": partial(ask, window)}
        if accelerator.is_cpu:
            here.start()
            ways["inline"] = partial(_in_a_row(here), window)
            if (raw := _raw(bundle, variant, threads)) is not None:
                ways["raw"] = raw
        times_us = {way: _latency(times) for way, times in _in_turns(ways, calls, clock).items()}
        right = [bundle.task.read(ask(values).scores).label == label for values, label in held_out]
        stream = _in_a_row(child, "golden")
        scores = np.array([stream(one).scores for one in golden.inputs])
        return msgspec.structs.replace(
            blank,
            **times_us,
            size_bytes=variant.file.stat().st_size,
            quantization=describe_variant(variant).quantization,
            backend=str(status["backend"]),
            memory_bytes=_memory_bytes(child),
            golden_off=float(np.abs(scores - golden.outputs).max()),
            accuracy=sum(right) / len(right) if right else None,
            windows=len(right),
        )


def _in_turns(ways: dict[str, Callable[[], object]], calls: int, clock: Clock) -> dict[str, list[float]]:
    """So many times of each in µs; of a slow model fewer, so that none takes much longer than `MOST_S`."""
    slowest_us = max(_times_us(call, 1, clock)[0] for call in ways.values())
    a_round = max(min(calls, round(MOST_S * 1e6 / max(slowest_us, 1))) // _ROUNDS, 1)
    times_us: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(_ROUNDS):
        for way, call in ways.items():
            times_us[way] += _times_us(call, a_round, clock)
    return times_us


def _latency(times_us: list[float]) -> Latency:
    return Latency(*np.percentile(times_us, _PERCENTILES).tolist())


def _in_a_row(engine: Engine, stream: str = "bench") -> Callable[[Seen], Answer]:
    """Ask for window after window of one stream: a model with a state goes on from each to the next."""
    numbers = count()
    return lambda values: engine.predict(values, stream, next(numbers))


def _raw(bundle: Bundle, variant: Variant, threads: int) -> Callable[[], object] | None:
    """None for a .tflite file with a shape that only our path settles."""
    if variant.file.suffix.lower() == ONNX:
        from edgeagent.inference.onnx import bare  # an extra

        return bare(variant.read(), signature(bundle), threads)
    with quiet_stderr():
        interpreter = find_runtime().interpreter(model_content=variant.read(), num_threads=threads)
        interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    if any(-1 in details["shape_signature"] for details in inputs):
        return None
    ready = [(d["index"], np.zeros(d["shape"], d["dtype"])) for d in inputs]
    outputs = [d["index"] for d in interpreter.get_output_details()]

    def invoke() -> object:
        for index, tensor in ready:
            interpreter.set_tensor(index, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return invoke


def _times_us(call: Callable[[], object], count: int, clock: Clock) -> list[float]:
    times = []
    for _ in range(count):
        began_ns = clock.now_ns()
        call()
        times.append((clock.now_ns() - began_ns) / 1000)
    return times


def _memory_bytes(engine: Engine) -> int | None:
    """The worker's proportional set size."""
    found = _PSS.search(Path(f"/proc/{engine.status()['pid']}/smaps_rollup").read_text())
    return int(found[1]) * 1024 if found else None
