"""A prediction through the child process, against set_tensor, invoke and get_tensor on the same model in this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from statistics import median

import numpy as np

from bench.figure import Figure, times_us
from edgeagent.agent.clock import RealClock
from edgeagent.inference.bundle import Bundle, load_bundle, own_bundles
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tflite import find_runtime, quiet_stderr

MAX_MORE_US = 150
ROUNDS, CALLS = 20, 250
PACED_CALLS, PACED_S = 50, 0.1


def measure() -> Iterator[Figure]:
    bundle = load_bundle(own_bundles() / "activity")
    window = np.random.default_rng(1).normal(size=(bundle.samples, len(bundle.layout.channels)))
    values = window.astype(np.float32)
    invoke = raw_invoke(bundle)
    here = Inline(bundle, "cpu", RealClock())
    here.start()
    engine = Supervisor(bundle, "cpu", RealClock())
    engine.start()
    try:
        # In turns, so that whatever else this machine does falls on both alike.
        rounds = [
            (times_us(invoke, CALLS), times_us(lambda: engine.predict(values), CALLS)) for _ in range(ROUNDS)
        ]
        raw_us = median(chain.from_iterable(raw for raw, _ in rounds))
        child_us = median(chain.from_iterable(child for _, child in rounds))
        yield Figure(
            "prediction through the child, back to back",
            f"{child_us:.0f} us",
            f"{raw_us:.0f} us",
            f"{child_us / raw_us:.1f}",
            f"<= raw + {MAX_MORE_US} us",
            child_us - raw_us <= MAX_MORE_US,
        )
        quiet_us, quiet_raw_us = min((median(child), median(raw)) for raw, child in rounds)
        yield Figure(
            f"  the quietest of {ROUNDS} rounds",
            f"{quiet_us:.0f} us",
            f"{quiet_raw_us:.0f} us",
            f"{quiet_us / quiet_raw_us:.1f}",
        )
        inline_us = median(times_us(lambda: here.predict(values), CALLS))
        yield Figure("the same in this process, quantized here", f"{inline_us:.0f} us", f"{raw_us:.0f} us")
        paced_us, paced_raw_us = _paced(lambda: engine.predict(values)), _paced(invoke)
        yield Figure(
            "the same, paced at 10 a second",
            f"{paced_us:.0f} us",
            f"{paced_raw_us:.0f} us",
            f"{paced_us / paced_raw_us:.1f}",
        )
    finally:
        engine.close()


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
