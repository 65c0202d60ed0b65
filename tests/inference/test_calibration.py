"""What normal running says of an anomaly's threshold, and where that is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeagent.errors import BundleFault, Fault, StorageFault
from edgeagent.inference.bundle import Bundle, load_bundle, own_bundles
from edgeagent.inference.calibration import (
    calibrated,
    calibration_file,
    store_calibration,
    threshold_of,
)
from edgeagent.inference.thresholds import Calibration, Found, find_threshold

pytestmark = pytest.mark.tflite_runtime

ERRORS = np.random.default_rng(3).permutation(np.arange(1, 1001) / 1000).tolist()
FOUND = find_threshold(ERRORS, 99, 0.5)


@pytest.fixture
def bundle() -> Bundle:
    return load_bundle(own_bundles() / "motion_anomaly")


def test_the_threshold_is_the_percentile_and_the_shares_of_alarms_are_those_of_the_windows() -> None:
    assert FOUND.threshold == 0.9901  # numpy: 0.99001; to four digits, upwards
    assert (FOUND.alarms, FOUND.alarms_before, FOUND.windows) == (0.01, 0.5, 1000)
    assert not FOUND.wanders


def test_a_threshold_is_rounded_upwards_so_that_no_normal_window_becomes_an_alarm() -> None:
    errors = [1.23456] * 300
    found = find_threshold(errors, 99, 1.0)
    assert (found.threshold, found.alarms) == (1.235, 0.0)


def test_normal_that_changes_meanwhile_is_told() -> None:
    assert find_threshold(sorted(ERRORS), 99, 0.5).wanders


@pytest.mark.parametrize(("percentile", "least"), [(99, 100), (95, 20), (99.5, 200), (50, 2)])
def test_a_percentile_needs_windows_beyond_it(percentile: float, least: int) -> None:
    assert find_threshold(ERRORS[:least], percentile, 0.5).windows == least
    with pytest.raises(Fault, match=rf"{least - 1} windows were measured; expected at least {least}"):
        find_threshold(ERRORS[: least - 1], percentile, 0.5)


def test_a_sensor_that_gives_nothing_calibrates_nothing() -> None:
    with pytest.raises(Fault, match="without any error; expected a sensor that moves"):
        find_threshold([0.0] * 200, 99, 0.5)


def test_what_is_stored_holds_for_this_training_of_the_model_alone(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    stored = store_calibration(folder, bundle, FOUND, "a test", "2026-11-22T12:00:00Z")
    again = calibrated(bundle, folder)
    assert threshold_of(again) == threshold_of(stored) == FOUND.threshold
    assert again.calibration is not None
    assert (again.calibration.time, again.calibration.found) == ("2026-11-22T12:00:00Z", FOUND)

    retrained = msgspec.structs.replace(
        bundle, variants=tuple(msgspec.structs.replace(one, sha256="0" * 64) for one in bundle.variants)
    )
    assert calibrated(retrained, folder) is retrained
    newer = msgspec.structs.replace(bundle, version="9.1")
    assert calibrated(newer, folder) is newer
    store_calibration(folder, newer, FOUND, "a test", None)
    assert calibrated(bundle, folder).calibration == stored.calibration, "each version keeps its own"


def test_a_bundle_without_a_threshold_is_not_calibrated() -> None:
    activity = load_bundle(own_bundles() / "activity")
    with pytest.raises(BundleFault, match=r"activity 1.0.0 has no threshold: it gives 7 labels"):
        threshold_of(activity)


def test_a_bundle_from_afar_cannot_choose_where_its_calibration_is_written(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(BundleFault, match="cannot be in the name of a file"):
        store_calibration(
            tmp_path, msgspec.structs.replace(bundle, name="../../etc/passwd"), FOUND, "a test", None
        )


def test_a_folder_that_cannot_be_written_is_told_and_leaves_what_was(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    store_calibration(folder, bundle, FOUND, "a test", None)
    file = calibration_file(folder, bundle)
    file.with_name(f"{file.name}.tmp").mkdir()
    worse = msgspec.structs.replace(FOUND, threshold=9.0)
    with pytest.raises(StorageFault, match=r"the calibration cannot be written \(Is a directory: .*tmp\)"):
        store_calibration(folder, bundle, worse, "a test", None)
    assert threshold_of(calibrated(bundle, folder)) == FOUND.threshold
    shutil.rmtree(folder)
    assert calibrated(bundle, folder) is bundle


def test_what_root_writes_belongs_to_whom_the_state_folder_does(bundle: Bundle, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 23456)
    store_calibration(tmp_path / "calibration", bundle, FOUND, "a test", None)
    owner = tmp_path.stat()
    for path in (tmp_path / "calibration", *(tmp_path / "calibration").iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (owner.st_uid, owner.st_gid)


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 300, b'{"version": "\xff"}', b"[1]"])
def test_a_damaged_calibration_is_told_and_the_bundles_own_threshold_counts(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    file = calibration_file(tmp_path, bundle)
    file.write_bytes(damage)
    assert calibrated(bundle, tmp_path) is bundle
    assert f"{file}: the calibration cannot be read" in caplog.text
    assert "Calibrate anew" in caplog.text


def test_a_damaged_calibration_is_written_over_by_the_next(bundle: Bundle, tmp_path: Path) -> None:
    calibration_file(tmp_path, bundle).write_bytes(b"{")
    store_calibration(tmp_path, bundle, FOUND, "a test", None)
    assert threshold_of(calibrated(bundle, tmp_path)) == FOUND.threshold


def test_a_calibration_is_read_as_it_was_written() -> None:
    one = Calibration(version="1", models=["a"], found=FOUND, source="s", time=None)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Calibration) == one
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(msgspec.to_builtins(FOUND) | {"threshold": -1}, Found)
