"""What the core has counted: the one source of the status, the health record and the demo's summary."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Any

from edgeagent.records import NS_PER_MS, Prediction

_LATENCIES = 4096  # how many of the newest the percentiles are taken over


class Counts:
    """Counters of one run of the agent; a sensor's, pipeline's or rule's name is the key."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()
        self.samples_missing: Counter[str] = Counter()
        self.windows: Counter[str] = Counter()
        self.windows_unpredicted: Counter[str] = Counter()
        self.skipped: dict[str, Counter[str]] = {}  # the same, by the cause
        self.rules_fired: Counter[str] = Counter()
        self.said: dict[str, str] = {}  # the last message of a rule's `event`
        self.scored = 0
        self.correct = 0
        self.last: dict[str, Prediction] = {}
        self.last_truth: dict[str, str | None] = {}
        self._latency_ns: deque[int] = deque(maxlen=_LATENCIES)

    def samples_seen(self, sensor: str, count: int, missing: int) -> None:
        self.samples[sensor] += count
        self.samples_missing[sensor] += missing

    def predicted(self, prediction: Prediction, truth: str | None) -> None:
        """A window has its prediction, or the reason for there being none; `truth` is None if unknown."""
        self.last[prediction.pipeline] = prediction
        self.last_truth[prediction.pipeline] = truth
        if prediction.skipped is not None:
            self.unpredicted(prediction.pipeline, prediction.skipped)
            return
        self._latency_ns.append(prediction.latency_ns)
        if truth is not None:
            self.scored += 1
            self.correct += prediction.label == truth

    def unpredicted(self, pipeline: str, cause: str, count: int = 1) -> None:
        """Windows that no model was asked about, or of which none said anything."""
        self.windows_unpredicted[pipeline] += count
        self.skipped.setdefault(pipeline, Counter())[cause] += count

    def latency_ms(self, speed: float = 1.0) -> dict[str, float]:
        """p50 and p99 from the read that delivered a window's last sample to its prediction, in real ms."""
        if not self._latency_ns:
            return {}
        # By rank: numpy's percentile would load a megabyte of masked arrays into every agent.
        ordered = sorted(self._latency_ns)
        p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] / NS_PER_MS / speed for share in (0.5, 0.99))
        return {"p50": round(p50, 3), "p99": round(p99, 3)}

    def as_dict(self, speed: float = 1.0) -> dict[str, Any]:
        """All of it, for status and health."""
        return {
            "samples": dict(self.samples),
            "samples_missing": dict(self.samples_missing),
            "windows": dict(self.windows),
            "windows_unpredicted": dict(self.windows_unpredicted),
            "skipped": {pipeline: dict(causes) for pipeline, causes in self.skipped.items()},
            "rules_fired": dict(self.rules_fired),
            "scored": self.scored,
            "correct": self.correct,
            "latency_ms": self.latency_ms(speed),
        }
