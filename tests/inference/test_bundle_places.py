"""A bundle is found where it may be, and is all in its own folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import write_bundle

from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import bundle_files, find_bundle, load_bundle

NOBODY = 65534

pytestmark = pytest.mark.tflite_runtime


@contextmanager
def closed_to_us(folder: Path) -> Iterator[None]:
    """A folder that this user may not enter; root, whom nothing is closed to, is somebody else meanwhile."""
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_a_place_that_the_user_may_not_enter_is_passed_over_and_named(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    write_bundle(place / "tiny")
    with (
        closed_to_us(place),
        pytest.raises(BundleFault, match=rf"no bundle 'tiny' in .*may not look into {place}\. Become a user"),
    ):
        find_bundle("tiny", places=[place])


def test_a_path_that_the_user_may_not_enter_is_not_said_to_be_empty(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny")
    with closed_to_us(tmp_path / "tiny"), pytest.raises(BundleFault, match="this user may not look into it"):
        find_bundle(str(tmp_path / "tiny"), places=[])


def test_the_bundles_of_a_closed_folder_are_none(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny")
    with closed_to_us(tmp_path):
        assert bundle_files(tmp_path) == []
    assert bundle_files(tmp_path) == [tmp_path / "tiny" / "bundle.yaml"]


@pytest.mark.parametrize("name", ["model_0.tflite", "golden.npz", "bundle.yaml"])
def test_a_link_out_of_the_bundle_is_refused(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "tiny")
    (tmp_path / "tiny" / name).rename(tmp_path / name)
    (tmp_path / "tiny" / name).symlink_to(tmp_path / name)
    with pytest.raises(BundleFault, match=f"{name} is a link out of the bundle, to {tmp_path / name}"):
        load_bundle(tmp_path / "tiny")


def test_a_link_that_leads_to_itself_is_a_file_that_is_missing(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "golden.npz").unlink()
    (tmp_path / "golden.npz").symlink_to("golden.npz")
    with pytest.raises(BundleFault, match=r"golden\.npz is missing"):
        load_bundle(tmp_path)


def test_a_link_to_the_whole_bundle_and_one_inside_it_are_fine(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny-1.0")
    (tmp_path / "tiny-1.0" / "model_0.tflite").rename(tmp_path / "tiny-1.0" / "first.tflite")
    (tmp_path / "tiny-1.0" / "model_0.tflite").symlink_to("first.tflite")
    (tmp_path / "tiny").symlink_to("tiny-1.0")
    assert load_bundle(tmp_path / "tiny").name == "tiny"


@pytest.mark.parametrize("file", ["../model_0.tflite", "..", "/etc/hostname", '"model\\0.tflite"'])
def test_a_file_outside_the_folder_is_refused_by_its_name(tmp_path: Path, file: str) -> None:
    write_bundle(tmp_path)
    yaml = tmp_path / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("file: golden.npz", f"file: {file}"))
    with pytest.raises(BundleFault, match=r"golden\.file: not a file name"):
        load_bundle(tmp_path)
