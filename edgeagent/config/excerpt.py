"""One sensor of a config, as a config of its own."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML


def sensor_alone(path: Path, name: str) -> str:
    """YAML as it was written, for a file that has been loaded and has such a sensor."""
    yaml, out = YAML(), StringIO()
    yaml.width = 120
    yaml.dump({"sensors": {name: yaml.load(path)["sensors"][name]}}, out)
    return out.getvalue()
