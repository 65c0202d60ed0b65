"""A prediction in this process and through the child, against set_tensor, invoke and get_tensor on the same model here.

The 13 kB model that ships, and a MobileNetV2 for 224 x 224 pictures; then how large the child is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np

from bench.agent import scratch
from bench.figure import Figure, times_us
from bench.pss import alone_mb, share_mb
from bench.sized_models import dense_bundle, mobilenet_bundle
from edgeagent.agent.clock import RealClock
from edgeagent.inference.backends import open_model
from edgeagent.inference.bundle import Bundle, load_bundle, own_bundles
from edgeagent.inference.delegates import CPU
from edgeagent.inference.engine import signature
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tensors import Codec
from edgeagent.inference.tflite import TfliteModel, find_runtime, quiet_stderr
from edgeagent.records import Float32Array

MAX_INLINE_US, MAX_CHILD_US = 25, 100
MAX_INLINE_RATIO, MAX_CHILD_RATIO = 1.05, 1.10
MAX_WORKER_MB, MODEL_BYTES = 40, 300_000
ROUNDS, CALLS, PICTURES = 20, 250, 10
QUIET = 5
PACED_CALLS, PACED_S = 50, 0.1


def measure() -> Iterator[Figure]:
    yield from _small()
    with scratch() as folder:
        yield from _mobilenet(folder)
    with scratch() as folder:
        yield from _memory(folder)


class _Times:
    """Rounds of raw, inline, child and quantization alone; in turns, so that whatever else runs falls on all alike.

    What is held against a floor is compared within each round, so that a slow minute does not decide.
    """

    def __init__(self, bundle: Bundle, values: Float32Array, calls: int) -> None:
        raw, codec = raw_invoke(bundle), _codec(bundle)
        here, child = Inline(bundle, "cpu", RealClock()), Supervisor(bundle, "cpu", RealClock())
        with closing(here), closing(child):
            here.start()
            child.start()
            scores = raw()
            ways: dict[str, Callable[[], object]] = {
                "raw": raw,
                "inline": lambda: here.predict(values),
                "child": lambda: child.predict(values),
                "codec": lambda: (codec.encode(values, None), codec.decode([scores])),
            }
            for call in ways.values():
                times_us(call, calls)  # warm
            rounds: list[dict[str, list[float]]]
            rounds = [{way: times_us(call, calls) for way, call in ways.items()} for _ in range(ROUNDS)]
            self.paced_us = {way: _paced(ways[way]) for way in ("raw", "child")} if calls == CALLS else {}
        self._medians = [{way: median(us) for way, us in one.items()} for one in rounds]
        self.us = {way: median(chain.from_iterable(one[way] for one in rounds)) for way in ways}
        # What is taken when nobody else wants the core.
        self.quiet_us = {
            way: float(np.percentile([us for one in rounds for us in one[way]], QUIET)) for way in ways
        }

    def by_round(self, figure: Callable[[dict[str, float]], float]) -> float:
        """The median of what a figure is in each round, given the median of each way in it, in us."""
        return median(figure(us) for us in self._medians)


def _small() -> Iterator[Figure]:
    bundle = load_bundle(own_bundles() / "activity")
    window = np.random.default_rng(1).normal(size=(bundle.samples, len(bundle.layout.channels)))
    times = _Times(bundle, window.astype(np.float32), CALLS)
    ways: tuple[tuple[str, float, Callable[[dict[str, float]], float]], ...] = (
        ("inline, quantized both ways", MAX_INLINE_US, lambda us: us["inline"] - us["raw"]),
        ("through the child, less that", MAX_CHILD_US, lambda us: us["child"] - us["codec"] - us["raw"]),
    )
    for name, floor_us, more in ways:
        us = times.by_round(more)
        met = (f"<= raw + {floor_us:g} us", us <= floor_us)
        yield _more(f"13 kB model: {name}", us, times.us["raw"], *met)
    for name, _, more in ways:
        yield _more(f"  the quickest {QUIET} %: {name}", more(times.quiet_us), times.quiet_us["raw"])
    yield Figure("  through the child, quantized", f"{times.us['child']:.0f} us", f"{times.us['raw']:.0f} us")
    paced_us, paced_raw_us = times.paced_us["child"], times.paced_us["raw"]
    yield Figure("  the same, paced at 10 a second", f"{paced_us:.0f} us", f"{paced_raw_us:.0f} us")


def _more(name: str, us: float, raw_us: float, floor: str = "", met: bool | None = None) -> Figure:
    return Figure(name, f"{raw_us + us:.1f} us", f"{raw_us:.1f} us", f"+{us:.1f}", floor, met)


def _mobilenet(folder: Path) -> Iterator[Figure]:
    bundle = mobilenet_bundle(folder)
    pixels = np.random.default_rng(3).integers(0, 256, (bundle.rows, 3)).astype(np.float32)
    times = _Times(bundle, pixels, PICTURES)
    ways = {"inline": MAX_INLINE_RATIO, "child": MAX_CHILD_RATIO}
    for way, floor in ways.items():
        ratio = times.by_round(lambda us: us[way] / us["raw"])  # noqa: B023
        yield _over(f"MobileNetV2 224: {way}", times.us, way, ratio, f"<= {floor}", ratio <= floor)
    for way in ways:
        quiet_us = times.quiet_us
        yield _over(f"  the quickest {QUIET} %: {way}", quiet_us, way, quiet_us[way] / quiet_us["raw"])


def _over(
    name: str, us: dict[str, float], way: str, ratio: float, floor: str = "", met: bool | None = None
) -> Figure:
    return Figure(name, f"{us[way] / 1000:.2f} ms", f"{us['raw'] / 1000:.2f} ms", f"{ratio:.3f}", floor, met)


def _memory(folder: Path) -> Iterator[Figure]:
    """Its parent imports what an agent does for it; what both have mapped counts half."""
    dense_bundle(folder, MODEL_BYTES)
    with subprocess.Popen([sys.executable, "-c", _PARENT, folder], stdin=-1, stdout=-1) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        mb, whole_mb = share_mb(pid, beside=parent.pid), alone_mb([pid])
        parent.communicate(b"\n")
    yield Figure(
        f"the child with a model of {MODEL_BYTES // 1000} kB",
        f"{mb:.1f} MB",
        floor=f"<= {MAX_WORKER_MB} MB",
        met=mb <= MAX_WORKER_MB,
    )
    yield Figure("  if nothing of it were shared", f"{whole_mb:.1f} MB")


_PARENT = """
import sys
from pathlib import Path
from edgeagent.agent.clock import RealClock
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.supervisor import Supervisor
engine = Supervisor(load_bundle(Path(sys.argv[1])), "cpu", RealClock())
engine.start()
print(engine.status()["pid"], flush=True)
input()
engine.close()
"""


def _codec(bundle: Bundle) -> Codec:
    """What quantizes the model's input, and makes numbers of its output."""
    with quiet_stderr():
        model = open_model("model.tflite", bundle.variants[0].read(), signature(bundle), 1, CPU)
    assert isinstance(model, TfliteModel)
    return model._codec


def raw_invoke(bundle: Bundle) -> Callable[[], object]:
    """set_tensor, invoke and get_tensor on the bundle's model, with its input ready."""
    runtime = find_runtime()
    with quiet_stderr():
        interpreter = runtime.interpreter(model_content=bundle.variants[0].read(), num_threads=1)
        interpreter.allocate_tensors()
    [input_], [output] = interpreter.get_input_details(), interpreter.get_output_details()
    tensor = np.zeros(input_["shape"], input_["dtype"])

    def invoke() -> object:
        interpreter.set_tensor(input_["index"], tensor)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return invoke


def _paced(call: Callable[[], object]) -> float:
    """The median in µs of calls that come one by one, out of the idle."""
    times = []
    for _ in range(PACED_CALLS):
        time.sleep(PACED_S)
        times += times_us(call, 1)
    return median(times)
