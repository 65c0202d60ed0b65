"""A threshold that was found on this device: one file a version of a bundle, in the state folder.

What one person or machine calls normal is another's anomaly. The bundle's own threshold holds where there is no file,
or one that belongs to another training of the model.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edgeagent.errors import BundleFault, Fault, disk
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.tasks.anomaly import Anomaly

log = logging.getLogger(__name__)

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Percentile = Annotated[float, msgspec.Meta(gt=0, lt=100)]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What normal running says of the threshold.

    `threshold` is the `percentile` of the errors of so many windows, in place of the one `before`; `alarms` and
    `alarms_before` are the shares of those windows above them. `alarms_later`: what a threshold of the first half of
    the windows makes of the second: where that is much more, they were too few, or normal is not the same all the time.
    """

    threshold: Annotated[float, msgspec.Meta(gt=0)]
    percentile: Percentile
    windows: int
    before: float
    alarms: Share
    alarms_before: Share
    alarms_later: Share

    @property
    def wanders(self) -> bool:
        """Whether the first half of the windows did not say what the second would be like."""
        return self.alarms_later > 3 * (1 - self.percentile / 100) + 2 / self.windows


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds: of which training of which version, from where, and when (UTC; None: nobody knew)."""

    version: str
    models: list[str]
    found: Found
    source: str
    time: str | None


def find_threshold(errors: Sequence[float], percentile: float, before: float) -> Found:
    """What these errors, of windows that are all normal, say. Raises Fault if they are too few for the percentile."""
    least = math.ceil(100 / (100 - percentile) - 1e-9)
    if len(errors) < least:
        raise Fault(
            f"{len(errors)} windows were measured",
            expected=f"at least {least} for the {percentile:g}th percentile",
            hint="Measure for longer (--for), or take a lower --percentile",
        )
    seen, half = np.asarray(errors, np.float64), len(errors) // 2
    threshold = _rounded(float(np.percentile(seen, percentile)))
    if not threshold > 0:
        raise Fault(
            "the model rebuilds each window without any error",
            expected="a sensor that moves",
            hint="See `edgeagent sensors read`: is it the right one, and does it give anything?",
        )
    early = float(np.percentile(seen[:half], percentile)) if half else threshold
    return Found(
        threshold=threshold,
        percentile=percentile,
        windows=len(seen),
        before=before,
        alarms=float((seen > threshold).mean()),
        alarms_before=float((seen > before).mean()),
        alarms_later=float((seen[half:] > early).mean()),
    )


def _rounded(threshold: float) -> float:
    """To four digits, upwards: no window that was normal becomes an alarm by it."""
    if threshold <= 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(threshold)) - 3)
    return float(f"{math.ceil(threshold / digit - 1e-9) * digit:.4g}")


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
    from edgeagent.inference.archive import must_name_a_file  # what few agents ever need

    for word in (bundle.name, bundle.version):
        must_name_a_file(word, where=str(bundle.folder / "bundle.yaml"))
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
