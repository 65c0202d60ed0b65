"""Say everything that is wrong with a config, with line and cure.

Opens no device and starts no model. Exit code 1 if there is a fault, 0 if there are at most warnings.
"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgeagent.agent import fit
from edgeagent.cli import FAULTS, OK
from edgeagent.config.findings import Finding
from edgeagent.config.schema import Config


@click.command(help=__doc__)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def command(file: Path, as_json: bool) -> int:
    loaded = fit.check(file)
    summary = describe(loaded.config) if loaded.config is not None else ""
    if as_json:
        report = {
            "file": str(file),
            "ok": loaded.config is not None,
            "sha256": loaded.sha256,
            "summary": summary,
            "findings": loaded.findings,
        }
        print(msgspec.json.encode(report).decode())
    else:
        for finding in loaded.findings:
            print(finding)
        print(f"{file}: {_verdict(loaded.findings)}{f': {summary}' if summary else ''}")
    return FAULTS if loaded.config is None else OK


def describe(config: Config) -> str:
    """What a config sets up, in a line: `press-07: sensor imu (mpu6050); pipeline motion (imu, activity)`."""
    counted = {
        "sensor": [f"{name} ({entry.part.file})" for name, entry in config.sensors.items()],
        "pipeline": [
            f"{name} ({' with '.join(p.inputs)}, {p.model or 'no model'})"
            for name, p in config.pipelines.items()
        ],
        "actuator": [f"{name} ({entry.part.file})" for name, entry in config.actuators.items()],
        "rule": list(config.rules),
        "sampling": list(config.sampling.policies),
        "upstream": [f"{name} ({entry.part.file})" for name, entry in config.upstream.items()],
    }
    parts = (f"{kind} {', '.join(names)}" for kind, names in counted.items() if names)
    return f"{config.device.id}: {'; '.join(parts) or 'nothing'}"


def _verdict(findings: list[Finding]) -> str:
    faults = sum(finding.severity == "fault" for finding in findings)
    warnings = len(findings) - faults
    counts = [
        f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((faults, "fault"), (warnings, "warning")) if n
    ]
    return ", ".join(counts) or "ok"
