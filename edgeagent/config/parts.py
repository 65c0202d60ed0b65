"""Which file implements a part: `driver: mpu6050` is `edgeagent/sensors/mpu6050.py`.

Other packages join by the entry point group of the folder's name: `edgeagent.sensors`, `edgeagent.upstream` ...
An entry point names a module with the same names in it as a file of ours.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgeagent.config.findings import listed, nearest
from edgeagent.errors import ConfigFault

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_HAS_OPTIONS = re.compile(r"^(class Options\b|Options\b.*=)", re.MULTILINE)


def names(folder: str) -> list[str]:
    """What the config may name in a folder: our files that have `Options`, and other packages' entry points."""
    return sorted({*_own(folder), *_foreign(folder)})


def known(folder: str, words: set[str]) -> set[str]:
    """Those of the words that name a file of ours, or, if none does, a part of other packages."""
    return words & _own(folder) or words & _foreign(folder).keys()


def find(folder: str, name: str) -> ModuleType:
    """The module that implements a part. Raises ConfigFault saying which there are, or what it lacks."""
    own = name in _own(folder)
    if not own and name not in _foreign(folder):
        raise ConfigFault(
            f"there is no {_WORD.get(folder, folder)} {name!r}",
            expected=listed(names(folder)),
            hint=nearest(name, names(folder)),
        )
    try:
        if own:
            return importlib.import_module(f"edgeagent.{folder}.{name}")
        module: ModuleType = _foreign(folder)[name].load()
    except ImportError as e:
        if e.name and e.name.partition(".")[0] == "edgeagent":
            raise  # a file of ours that is not whole: no package would mend that
        raise ConfigFault(
            f"{name!r} cannot be loaded: {e}",
            hint=f"Install what it needs: {pip_install(_package(e.name))}." if e.name else "",
        ) from e
    return module


def pip_install(*packages: str) -> str:
    """The command for it. Its pip is the one beside this Python: a system's own refuses, or installs elsewhere."""
    command = shlex.join(["pip", "install", *packages])
    if sys.prefix == sys.base_prefix:
        return command
    return f"{'' if os.access(sys.prefix, os.W_OK) else 'sudo '}{sys.prefix}/bin/{command}"


def _package(module: str) -> str:
    """What to install for an import: our extra, or what someone else's driver needs."""
    name = module.partition(".")[0]
    return f"edgeagent[{_EXTRAS[name]}]" if name in _EXTRAS else name


_EXTRAS = {"PIL": "camera", "obstore": "s3", "paho": "mqtt", "pymodbus": "modbus", "pynmeagps": "nmea"}

_WORD = {
    "sensors": "sensor driver",
    "conditioning": "filter",
    "actuators": "actuator driver",
    "upstream": "upstream",
    "decisions": "action",
    "sampling": "sampling policy",
    "inference.preprocess": "preprocessing step",
    "inference.tasks": "task",
}


def _own(folder: str) -> set[str]:
    """Files with `Options`, found without importing them: a neighbour may need a package that is not there."""
    package = importlib.import_module(f"edgeagent.{folder}")
    files = (file for place in package.__path__ for file in Path(place).glob("*.py"))
    return {file.stem for file in files if _HAS_OPTIONS.search(file.read_text())}


def _foreign(folder: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # 2 MB, for the few who have parts of other packages

    return {point.name: point for point in entry_points(group=f"edgeagent.{folder}")}
