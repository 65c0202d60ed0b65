"""What a bundle costs on this board, and how right it is: the figures of `edgeagent model bench`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import msgspec
import numpy as np

from edgeagent.errors import BundleFault, Fault, InferenceFault
from edgeagent.inference import Answer, Engine
from edgeagent.inference.bundle import Bundle, Variant
from edgeagent.inference.golden import load_golden
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tflite import find_runtime, quiet_stderr
from edgeagent.recording import Recording, label_between
from edgeagent.records import Float32Array
from edgeagent.timebase import Clock
from edgeagent.windows import decimate, fill, fit

_PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)
_PERCENTILES = (50, 90, 99)
_ROUNDS = 10


class Latency(msgspec.Struct, frozen=True):
    """In µs."""

    p50: float
    p90: float
    p99: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One variant with so many threads.

    `raw`: set_tensor, invoke and get_tensor with the input ready; `inline` and `process`: from a window to its scores
    by the two kinds of isolation. Raw and inline on the CPU only: an accelerator is not opened twice. `memory_bytes`:
    the worker's proportional set size. `accuracy`: over the `windows` of the bundle's recording that lie in one label,
    None if it has none. `trouble`: why there is nothing else.
    """

    variant: str
    accelerator: str
    threads: int
    raw: Latency | None = None
    inline: Latency | None = None
    process: Latency | None = None
    memory_bytes: int | None = None
    accuracy: float | None = None
    windows: int = 0
    trouble: str = ""


def bench(bundle: Bundle, threads: Sequence[int], calls: int, clock: Clock) -> Iterator[Figures]:
    """Each variant with each number of threads.

    Raises BundleFault if the golden vectors cannot be read, StorageFault if the recording cannot.
    """
    held_out = list(labelled_windows(bundle))
    window = load_golden(bundle).inputs[0]
    for variant in bundle.variants:
        alone = msgspec.structs.replace(bundle, variants=(variant,))
        for n in threads:
            try:
                yield _measure(alone, variant, n, calls, clock, window, held_out)
            except (BundleFault, InferenceFault) as fault:
                yield Figures(
                    variant=variant.name, accelerator=variant.accelerator, threads=n, trouble=str(fault)
                )


def labelled_windows(bundle: Bundle) -> Iterator[tuple[Float32Array, str]]:
    """The windows of the bundle's `recording/` by its own hop that lie in one label, each with it."""
    folder = bundle.folder / "recording"
    if not folder.is_dir() or bundle.layout.shape:  # of pictures a recording has no arrays
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


def _measure(
    bundle: Bundle,
    variant: Variant,
    threads: int,
    calls: int,
    clock: Clock,
    window: Float32Array,
    held_out: list[tuple[Float32Array, str]],
) -> Figures:
    """In turns, so that whatever else the board does falls on all alike."""
    here = Inline(bundle, "auto", clock, threads=threads)
    child = Supervisor(bundle, "auto", clock, threads=threads)
    try:
        child.start()  # first: a model that crashes does it there
        ways: dict[str, Callable[[], object]] = {"process": partial(_in_a_row(child), window)}
        if variant.accelerator == "cpu":
            here.start()
            ways["inline"] = partial(_in_a_row(here), window)
            if (raw := _raw(variant, threads)) is not None:
                ways["raw"] = raw
        times_us: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, call in ways.items():
                times_us[way] += _times_us(call, max(calls // _ROUNDS, 1), clock)
        ask = _in_a_row(child)
        right = [bundle.task.read(ask(values).scores).label == label for values, label in held_out]
        return Figures(
            variant=variant.name,
            accelerator=variant.accelerator,
            threads=threads,
            raw=_latency(times_us.get("raw")),
            inline=_latency(times_us.get("inline")),
            process=_latency(times_us["process"]),
            memory_bytes=_memory_bytes(child),
            accuracy=sum(right) / len(right) if right else None,
            windows=len(right),
        )
    finally:
        here.close()
        child.close()


def _latency(times_us: list[float] | None) -> Latency | None:
    return Latency(*np.percentile(times_us, _PERCENTILES).tolist()) if times_us else None


def _in_a_row(engine: Engine) -> Callable[[Float32Array], Answer]:
    """Ask for window after window of one stream: a model with a state goes on from each to the next."""
    numbers = count()
    return lambda values: engine.predict(values, "bench", next(numbers))


def _raw(variant: Variant, threads: int) -> Callable[[], object] | None:
    """None for what is no .tflite file, or has a shape that only our path settles."""
    if not variant.name.endswith(".tflite"):
        return None
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
