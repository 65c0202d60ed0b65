"""What the demo must be able to show at its end: counted by the parts, and checked against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.demo.scene import Moment


class Summary(msgspec.Struct, frozen=True):
    """The keys of `--json`. Counters of the agent's own process begin anew if it was killed."""

    accuracy: float | None
    windows: int
    windows_unpredicted: int
    samples: int
    samples_missing: int
    rules_fired: int
    relay_switched: int
    records_made: int
    records_acknowledged: int
    records_in_dataset: int
    bytes_sent: int
    outage_s: float
    latency_ms: dict[str, float]
    dataset: str


def summarise(moment: Moment, records_in_dataset: int, dataset: Path) -> Summary:
    """From the agent's last status and what was read back from the dataset's files."""
    agent = moment.agent
    counts: Mapping[str, Any] = agent["counts"]
    scored = counts["scored"]
    return Summary(
        accuracy=round(counts["correct"] / scored, 3) if scored else None,
        windows=Counter(counts["windows"]).total(),
        windows_unpredicted=Counter(counts["windows_unpredicted"]).total(),
        samples=Counter(counts["samples"]).total(),
        samples_missing=Counter(counts["samples_missing"]).total(),
        rules_fired=Counter(counts["rules_fired"]).total(),
        relay_switched=agent["actuators"]["relay"]["changes"] or 0,
        records_made=agent["outbox"]["made"],
        records_acknowledged=agent["outbox"]["delivered"],
        records_in_dataset=records_in_dataset,
        bytes_sent=sum(u["bytes_sent"] for u in agent["upstream"].values()),
        outage_s=round(moment.outage_s, 1),
        latency_ms=counts["latency_ms"],
        dataset=str(dataset),
    )


CHECKED = ("samples_missing", "relay_switched", "outage_s", "records_in_dataset")
"""The keys that the demo's exit code hangs on."""


def faults(summary: Summary) -> dict[str, str]:
    """Why the demo exits with 1, by the key that shows it; empty if all is as it must be."""
    found = {}
    if summary.samples_missing:
        found["samples_missing"] = f"{summary.samples_missing} samples are missing"
    if not summary.relay_switched:
        found["relay_switched"] = "the relay did not switch"
    if not summary.outage_s:
        found["outage_s"] = "the network never went away"
    if not summary.records_made == summary.records_acknowledged == summary.records_in_dataset:
        found["records_in_dataset"] = "records made, acknowledged and in the dataset differ"
    elif not summary.records_made:
        found["records_in_dataset"] = "no record was made"
    return found
