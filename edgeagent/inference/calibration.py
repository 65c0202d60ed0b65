"""A threshold that was found on this device: one file a bundle, in the state folder.

What one person or machine calls normal is another's anomaly. The bundle's own threshold holds where there is no file,
or one that belongs to another version of the bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.tasks.anomaly import Anomaly


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """`threshold` of the task `anomaly`, from so many windows that somebody called normal."""

    version: str
    threshold: Annotated[float, msgspec.Meta(gt=0)]
    windows: int


def calibration_file(folder: Path, bundle: Bundle) -> Path:
    """Where a bundle's calibration lies in the folder of all of them."""
    return folder / f"{bundle.name}.json"


def calibrated(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle with the threshold of this device, if it has one. Raises BundleFault if the file cannot be used."""
    file = calibration_file(folder, bundle)
    if not isinstance(bundle.task, Anomaly) or not file.is_file():
        return bundle
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError) as e:
        raise BundleFault(
            f"the calibration cannot be read ({e})", where=str(file), hint="Delete it, and calibrate anew"
        ) from e
    if found.version != bundle.version:
        return bundle
    return msgspec.structs.replace(bundle, task=bundle.task.at(found.threshold))
