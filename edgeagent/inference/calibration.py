"""A threshold that was found on this device: one file a version of a bundle, in the state folder.

What one person or machine calls normal is another's anomaly. The bundle's own threshold holds where there is no file,
or one that belongs to another training of the model.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from edgeagent.errors import BundleFault, disk
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.names import must_name_a_file
from edgeagent.inference.tasks.anomaly import Anomaly
from edgeagent.inference.thresholds import Calibration, Found

log = logging.getLogger(__name__)


def calibration_folder(state: Path) -> Path:
    return state / "calibration"


def calibration_file(folder: Path, bundle: Bundle) -> Path:
    """Where a bundle's calibration lies in the folder of all of them."""
    return folder / f"{bundle.name}-{bundle.version}.json"


def threshold_of(bundle: Bundle) -> float:
    """Raises BundleFault if its task has none."""
    if isinstance(bundle.task, Anomaly):
        return bundle.task.threshold
    raise BundleFault(
        f"{bundle.name} {bundle.version} has no threshold: it gives {bundle.task.gives}",
        expected="a model of `task: anomaly`",
    )


def calibrated(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle with the threshold of this device, if it has one. A damaged file is told, and stops nothing."""
    file = calibration_file(folder, bundle)
    if not isinstance(bundle.task, Anomaly):
        return bundle
    try:
        calibration = msgspec.json.decode(file.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return bundle
    except PermissionError:  # `check`, by somebody who is not the agent
        log.warning("%s: this user may not see it, so the bundle's own threshold counts", file)
        return bundle
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as e:
        log.warning(
            "%s: the calibration cannot be read (%s), so the bundle's own threshold counts. Calibrate anew: "
            "edgeagent model calibrate",
            file,
            e,
        )
        return bundle
    if (calibration.version, calibration.models) != (bundle.version, models_of(bundle)):
        return bundle
    return with_calibration(bundle, calibration)


def with_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    assert isinstance(bundle.task, Anomaly)
    task = bundle.task.at(calibration.found.threshold)
    return msgspec.structs.replace(bundle, task=task, calibration=calibration)


def models_of(bundle: Bundle) -> list[str]:
    """Which training this is: the hash of each variant."""
    return [variant.sha256 for variant in bundle.variants]


def store_calibration(folder: Path, bundle: Bundle, found: Found, source: str, time: str | None) -> Bundle:
    """The bundle with a new threshold, which holds after a power cut too.

    Raises StorageFault if it cannot be written, BundleFault if the bundle's name is none for a file.
    """
    must_name_a_file(bundle.name, bundle.version, where=str(bundle.folder / "bundle.yaml"))
    calibration = Calibration(
        version=bundle.version, models=models_of(bundle), found=found, source=source, time=time
    )
    file = calibration_file(folder, bundle)
    young = file.with_name(f"{file.name}.tmp")
    hint = "Make room on the disk, and see whether this user may write there (try sudo)"
    with disk("the calibration cannot be written", where=file, hint=hint):
        folder.mkdir(mode=0o750, exist_ok=True)
        young.write_bytes(msgspec.json.format(msgspec.json.encode(calibration)))
        _give(folder, young)
        os.sync()
        young.replace(file)
        os.sync()
    return with_calibration(bundle, calibration)


def _give(folder: Path, file: Path) -> None:
    """What root has written becomes the agent's: it belongs to whom the state folder does."""
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        for path in (folder, file):
            os.chown(path, owner.st_uid, owner.st_gid)
