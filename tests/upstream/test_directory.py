"""A stick that is not as it should be: what a technician reads, and that nothing is taken for delivered."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from edgeagent.errors import UpstreamFault
from edgeagent.upstream import directory
from edgeagent.upstream.codec import decode_batch

BATCH = {"press-07/0123456789ab/1": b"\xa1a"}


def sink(path: Path, name: str = "stick") -> directory.Directory:
    return directory.build(name, directory.Options(path=path), "press-07")


def test_an_upstream_of_any_name_writes_its_files(tmp_path: Path) -> None:
    for name in ("a/b", "..", "the ä stick"):
        assert sink(tmp_path, name).send(BATCH).accepted == set(BATCH)
    (file,) = tmp_path.iterdir()
    assert decode_batch(file.read_bytes()) == list(BATCH.values())


def test_a_folder_that_is_not_there_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "absent", "No such file"), (tmp_path / "file", "Not a directory")):
        with pytest.raises(UpstreamFault) as caught:
            sink(path).send(BATCH)
        assert str(caught.value).startswith(f"{path}: cannot be written: {words}")
        assert "Is the stick in, mounted and writable, and has it room?" in str(caught.value)


def test_a_full_stick_keeps_all_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    """No file may grow beyond 64 kB: what a full disk does, and no root is needed for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, before[1]))
    try:
        with pytest.raises(UpstreamFault, match="cannot be written: File too large"):
            sink(tmp_path).send({"press-07/0123456789ab/1": bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    assert sink(tmp_path).send(BATCH).accepted == set(BATCH)
