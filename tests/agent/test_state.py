"""The state folder: its lock, and the small files in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgeagent.agent.state import (
    Lock,
    SpentBytes,
    make_folder,
    read_status,
    run_folder,
    state_folder,
    write_status,
)
from edgeagent.errors import StorageFault


def test_the_lock_says_who_has_it_and_is_free_again_when_that_one_is_gone(tmp_path: Path) -> None:
    first = Lock(tmp_path)
    with pytest.raises(StorageFault, match=rf"another agent uses this state folder \(pid {os.getpid()}\)"):
        Lock(tmp_path)
    first.release()
    Lock(tmp_path).release()


def test_what_the_config_says_comes_before_what_systemd_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgeagent:/var/lib/more")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edgeagent")
    assert state_folder(tmp_path) == tmp_path
    assert state_folder(None) == Path("/var/lib/edgeagent")
    assert run_folder(tmp_path) == Path("/run/edgeagent")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert run_folder(tmp_path) == tmp_path / "run"


def test_a_folder_in_whose_place_a_file_lies_is_told_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFault, match="set `state:` in the config"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("number", "cure"), [(errno.EROFS, "remount,rw"), (errno.ENOSPC, "df -h"), (errno.EACCES, "set `state:`")]
)
def test_a_state_folder_that_cannot_be_written_says_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cure: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageFault, match=cure):
        Lock(tmp_path)


def test_a_status_is_whole_or_not_there(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, {"state": "ok"})
    assert read_status(tmp_path) == {"state": "ok"}
    (tmp_path / "status.json").write_text('{"state": ')
    assert read_status(tmp_path) is None


def test_what_was_spent_is_remembered_and_damage_is_nothing_spent(tmp_path: Path) -> None:
    SpentBytes(tmp_path).remember(4711)
    assert SpentBytes(tmp_path).value == 4711
    (tmp_path / "spent_bytes").write_text("4711x")
    assert SpentBytes(tmp_path).value == 0


def test_a_disk_that_refuses_the_small_files_is_no_fault_of_theirs(tmp_path: Path) -> None:
    write_status(tmp_path / "gone", {"state": "ok"})
    SpentBytes(tmp_path / "gone").remember(1)
    assert not (tmp_path / "gone").exists()
