"""The virtual IMU at 1 kHz through the running agent: samples lost, share of a core, time to the decision.

Ten windows a second, so that a p99 means something. How late a bare thread wakes up in the same half minute is
printed below: on a machine with busy neighbours that is what the agent's figures consist of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median, quantiles

from bench.agent import running, scratch, write_config
from bench.child import raw_invoke
from bench.figure import Figure, times_us
from edgeagent.inference.bundle import load_bundle, own_bundles

RATE_HZ, HOP = 1000, "100 ms"
SETTLE_S, MEASURED_S = 5.0, 30.0
NAP_S = 0.04  # as the driver sleeps between two bursts
MAX_CORE_SHARE, MAX_LATE_MS = 0.15, 5.0


def measure() -> Iterator[Figure]:
    with scratch() as folder, running(write_config(folder, rate_hz=RATE_HZ, hop=HOP)) as agent:
        agent.wait_for_model()
        time.sleep(SETTLE_S)
        before, cpu_s, start = agent.status()["counts"], agent.cpu_s(), time.monotonic()
        woke_ms = _wake_up_late_ms(MEASURED_S)
        share = (agent.cpu_s() - cpu_s) / (time.monotonic() - start)
        after = agent.status()["counts"]
    starting = before["samples_missing"]["imu"]
    missing = after["samples_missing"]["imu"] - starting
    samples = after["samples"]["imu"] - before["samples"]["imu"]
    yield Figure(f"samples lost at {RATE_HZ} Hz", f"{missing}", f"{samples}", "", "0", missing == 0)
    yield Figure("  and before, while starting", f"{starting}", f"{before['samples']['imu']}")
    yield Figure(
        "agent and worker, share of one core",
        f"{share:.1%}",
        "100%",
        f"{share:.3f}",
        f"< {MAX_CORE_SHARE:.0%}",
        share < MAX_CORE_SHARE,
    )
    raw_ms = median(times_us(raw_invoke(load_bundle(own_bundles() / "activity")), 500)) / 1000
    p50_ms, p99_ms = after["latency_ms"]["p50"], after["latency_ms"]["p99"]
    yield Figure(
        "last sample read to decision, p99",
        f"{p99_ms:.2f} ms",
        f"{raw_ms:.3f} ms",
        f"{p99_ms / raw_ms:.0f}",
        f"< raw + {MAX_LATE_MS:g} ms",
        p99_ms - raw_ms < MAX_LATE_MS,
    )
    yield Figure("  p50", f"{p50_ms:.2f} ms", f"{raw_ms:.3f} ms", f"{p50_ms / raw_ms:.0f}")
    centiles = quantiles(woke_ms, n=100)
    yield Figure("a bare thread's lateness meanwhile, p99", f"{centiles[98]:.2f} ms")
    yield Figure("  p50", f"{centiles[49]:.2f} ms")
    yield Figure("  longest (the chip's FIFO holds 85 ms)", f"{max(woke_ms):.2f} ms")


def _wake_up_late_ms(duration_s: float) -> list[float]:
    """How much later than asked a thread that does nothing else wakes up, again and again."""
    late_ms = []
    end = time.monotonic() + duration_s
    while (now := time.monotonic()) < end:
        time.sleep(NAP_S)
        late_ms.append((time.monotonic() - now - NAP_S) * 1000)
    return late_ms
