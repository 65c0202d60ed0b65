"""Is all well? The reasons for which `edgeagent status` exits 3."""

from __future__ import annotations

from typing import Any


def degraded_because(status: dict[str, Any]) -> list[str]:
    """One sentence for each thing that is not as the config wants it; empty if all is well."""
    reasons = [
        f"sensor {name} is {s['state']}: {s['reason']}" if s["reason"] else f"sensor {name} is {s['state']}"
        for name, s in status["sensors"].items()
        if s["state"] not in ("ok", "starting")
    ]
    reasons += [
        f"model {key} is {m['state']}: {m['last_error']}"
        for key, m in status["models"].items()
        if m["state"] not in ("ok", "starting")
    ]
    reasons += [
        f"model {key} runs on {m['got']}, not on {m['asked']}: {m['why']}"
        for key, m in status["models"].items()
        if m["state"] == "ok" and m["asked"] not in ("auto", m["got"])
    ]
    reasons += [f"sensor {name}: {s['unfit']}" for name, s in status["sensors"].items() if s["unfit"]]
    reasons += [f"pipeline {name}: {p['unfit']}" for name, p in status["pipelines"].items() if p["unfit"]]
    reasons += [f"output {name}: {a['error']}" for name, a in status["actuators"].items() if a.get("error")]
    if trouble := status["outbox"].get("trouble"):
        reasons.append(f"outbox: {trouble}")
    reasons += [
        f"upstream {name} is away: {u['trouble']}"
        for name, u in status["upstream"].items()
        if u.get("trouble")
    ]
    return reasons
