"""The virtual IMU at 1 kHz through the running agent: samples lost, share of a core, time to the decision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from bench.agent import running, scratch, write_config
from bench.child import raw_invoke
from bench.figure import Figure, times_us
from edgeagent.inference.bundle import load_bundle, own_bundles

RATE_HZ = 1000
SETTLE_S, MEASURED_S = 5.0, 30.0
MAX_CORE_SHARE, MAX_LATE_MS = 0.15, 5.0


def measure() -> Iterator[Figure]:
    with scratch() as folder, running(write_config(folder, rate_hz=RATE_HZ)) as agent:
        agent.wait_for_model()
        time.sleep(SETTLE_S)
        cpu_s, start = agent.cpu_s(), time.monotonic()
        time.sleep(MEASURED_S)
        share = (agent.cpu_s() - cpu_s) / (time.monotonic() - start)
        counts = agent.status()["counts"]
    raw_ms = median(times_us(raw_invoke(load_bundle(own_bundles() / "activity")), 500)) / 1000
    samples, missing = counts["samples"]["imu"], counts["samples_missing"]["imu"]
    yield Figure(f"samples lost at {RATE_HZ} Hz", f"{missing}", f"{samples}", "", "0", missing == 0)
    yield Figure(
        "agent and worker, share of one core",
        f"{share:.1%}",
        "100%",
        f"{share:.3f}",
        f"< {MAX_CORE_SHARE:.0%}",
        share < MAX_CORE_SHARE,
    )
    late_ms = counts["latency_ms"]["p99"]
    yield Figure(
        "last sample read to decision, p99",
        f"{late_ms:.2f} ms",
        f"{raw_ms:.3f} ms",
        f"{late_ms / raw_ms:.0f}",
        f"< raw + {MAX_LATE_MS:g} ms",
        late_ms - raw_ms < MAX_LATE_MS,
    )
