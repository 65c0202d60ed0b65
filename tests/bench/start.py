"""From `edgeagent run` to the first prediction possible: the model loaded in its child, its golden vectors passed.

Raw is a bare Python that imports numpy and LiteRT.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from bench.agent import running, scratch, write_config
from bench.figure import Figure, times_us

STARTS = 5
MAX_START_S = 1.5


def measure() -> Iterator[Figure]:
    imports = [sys.executable, "-c", "import numpy, ai_edge_litert.interpreter"]
    raw_s = median(times_us(lambda: subprocess.run(imports, check=True), STARTS)) / 1e6
    start_s = median(_start_s() for _ in range(STARTS))
    yield Figure(
        "start to first prediction possible",
        f"{start_s:.2f} s",
        f"{raw_s:.2f} s",
        f"{start_s / raw_s:.1f}",
        f"< {MAX_START_S:g} s",
        start_s < MAX_START_S,
    )


def _start_s() -> float:
    with scratch() as folder:
        config = write_config(folder)
        start = time.monotonic()
        with running(config) as agent:
            agent.wait_for_model()
            return time.monotonic() - start
