"""A bundle travels as one file, and what comes out is what went in, or nothing."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest
from tiny import write_bundle

from edgeagent.errors import BundleFault, StorageFault
from edgeagent.inference import archive
from edgeagent.inference.archive import archive_name, pack, unpack
from edgeagent.inference.bundle import own_bundles

MUTANTS = 60


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    write_bundle(folder)
    (folder / "recording").mkdir()
    (folder / "recording" / "journal.bin").write_bytes(b"\0\1\2")
    pack(folder, tmp_path / "tiny.tar")
    return tmp_path / "tiny.tar"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_packed_comes_out(packed: Path, place: Path) -> None:
    assert unpack(packed, place).folder == place / "tiny"
    assert _content(place / "tiny") == _content(packed.with_name("tiny"))
    assert [p.name for p in place.iterdir()] == ["tiny"]


def test_the_shipped_bundles_survive_the_way(tmp_path: Path, place: Path) -> None:
    folders = [file.parent for file in own_bundles().glob("*/bundle.yaml")]
    assert folders
    for folder in folders:
        bundle = pack(folder, tmp_path / "one.tar")
        assert unpack(tmp_path / "one.tar", place).task.names == bundle.task.names


def test_packing_twice_gives_the_same_bytes_whatever_the_files_age_owner_and_rights(
    packed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    packed.with_name("tiny").rename(folder)
    for i, file in enumerate(folder.rglob("*")):
        os.utime(file, (i, i))
        file.chmod(0o700)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.pyc").touch()
    (folder / ".hidden").touch()
    pack(folder, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()


def test_the_archive_is_named_by_bundle_and_version(tmp_path: Path) -> None:
    assert archive_name(write_bundle(tmp_path)) == "tiny-1.0.tar"


def test_a_bundle_that_was_altered_is_not_packed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny").variants[0].file.write_bytes(b"another model")
    with pytest.raises(BundleFault, match="altered or cut short"):
        pack(tmp_path / "tiny", tmp_path / "tiny.tar")
    assert not (tmp_path / "tiny.tar").exists()


@pytest.mark.parametrize("name", ["../tiny", "a/b", ".tiny", ""])
def test_a_name_that_is_no_folder_is_not_packed(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "tiny")
    yaml = tmp_path / "tiny" / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("name: tiny", f'name: "{name}"'))
    with pytest.raises(BundleFault, match="cannot be in the name of a file"):
        pack(tmp_path / "tiny", tmp_path / "tiny.tar")


def test_links_and_pipes_are_not_packed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny")
    (tmp_path / "tiny" / "data").symlink_to("/etc")
    with pytest.raises(BundleFault, match="data is a link or no ordinary file"):
        pack(tmp_path / "tiny", tmp_path / "tiny.tar")
    (tmp_path / "tiny" / "data").unlink()
    os.mkfifo(tmp_path / "tiny" / "data")
    with pytest.raises(BundleFault, match="data is a link or no ordinary file"):
        pack(tmp_path / "tiny", tmp_path / "tiny.tar")


def test_an_archive_inside_its_own_bundle_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with pytest.raises(BundleFault, match="would be in itself"):
        pack(tmp_path, tmp_path / "tiny.tar")


def test_a_folder_with_too_much_in_it_is_not_packed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny")
    with (tmp_path / "tiny" / "data.csv").open("wb") as file:
        file.truncate(archive.MAX_BYTES)
    with pytest.raises(BundleFault, match=r"files of 200\.0 MB; expected at most"):
        pack(tmp_path / "tiny", tmp_path / "tiny.tar")


# --- what comes from afar -----------------------------------------------------------------------------


def _member(name: str, data: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member, data


def _add(packed: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(packed, "a") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (_member("tiny/../../escaped"), "leads out of the bundle's folder"),
        (_member("../escaped"), "leads out of the bundle's folder"),
        (_member("/escaped"), "leads out of the bundle's folder"),
        (_member("tiny//escaped"), "leads out of the bundle's folder"),
        (_member("escaped"), "leads out of the bundle's folder"),
        (_member("tiny/esc\naped"), "leads out of the bundle's folder"),
        (_member("tiny/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a symbolic link"),
        (_member("tiny/link", type=tarfile.LNKTYPE, linkname="tiny/golden.npz"), "is a hard link"),
        (_member("tiny/null", type=tarfile.CHRTYPE), "is a special file"),
        (_member("tiny/pipe", type=tarfile.FIFOTYPE), "is a special file"),
        (_member("other/bundle.yaml"), "more than one bundle"),
        (_member("tiny/bundle.yaml", b"name: other"), "damaged"),
        (_member("tiny/bundle.yaml/below"), "damaged"),
        (_member("tiny/zz", b"another time", mtime=1), "not, byte for byte"),
        (_member("tiny/a", b"out of order"), "not, byte for byte"),
    ],
    ids=lambda value: repr(value[0].name) if isinstance(value, tuple) else None,
)
def test_an_archive_that_is_not_one_of_ours_leaves_nothing_behind(
    packed: Path, place: Path, member: tuple[tarfile.TarInfo, bytes], says: str
) -> None:
    _add(packed, member)
    with pytest.raises(BundleFault, match=says) as fault:
        unpack(packed, place)
    assert str(packed) in str(fault.value)
    assert list(place.iterdir()) == []
    assert not (place.parent / "escaped").exists()


def test_too_large_an_archive_is_refused_unread(tmp_path: Path, place: Path) -> None:
    with (tmp_path / "large.tar").open("wb") as file:
        file.truncate(archive.MAX_BYTES + 1)
    with pytest.raises(BundleFault, match="it is 200 MB; expected at most 200 MB"):
        unpack(tmp_path / "large.tar", place)


def test_a_member_that_claims_more_than_there_is_is_refused(packed: Path, place: Path) -> None:
    data = packed.read_bytes()
    member, _ = _member("tiny/large")
    member.size = 10**12
    packed.write_bytes(member.tobuf(tarfile.PAX_FORMAT) + data)
    with pytest.raises(BundleFault, match="too much"):
        unpack(packed, place)
    assert list(place.iterdir()) == []


def test_too_many_files_are_refused(packed: Path, place: Path) -> None:
    _add(packed, *(_member(f"tiny/{i}") for i in range(archive.MAX_FILES)))
    with pytest.raises(BundleFault, match="too much"):
        unpack(packed, place)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 10240, b"PK\3\4 not a tar", b"x" * 5000], ids=["empty", "zeros", "zip", "text"]
)
def test_what_is_no_archive_says_so(tmp_path: Path, place: Path, content: bytes) -> None:
    (tmp_path / "it.tar").write_bytes(content)
    with pytest.raises(BundleFault, match=r"no tar|it is empty"):
        unpack(tmp_path / "it.tar", place)


def _cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def _flip(data: bytearray, rng: random.Random) -> bytes:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _overwrite(data: bytearray, rng: random.Random) -> bytes:
    at = 512 * rng.randrange(len(data) // 512) + rng.randrange(257)
    data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


@pytest.mark.parametrize("mutate", [_cut, _flip, _overwrite])
def test_a_mutant_of_an_archive_is_refused_or_is_the_archive_of_what_comes_out(
    packed: Path, place: Path, mutate: Callable[[bytearray, random.Random], bytes]
) -> None:
    """Not each is refused: that a card or a recording was changed is for a signature to find."""
    rng, whole, refused = random.Random(5), packed.read_bytes(), 0
    for _ in range(MUTANTS):
        packed.write_bytes(mutate(bytearray(whole), rng))
        try:
            bundle = unpack(packed, place)
        except (BundleFault, StorageFault):
            refused += 1
        else:
            pack(bundle.folder, place / "again.tar")
            assert (place / "again.tar").read_bytes() == packed.read_bytes()
            (place / "again.tar").unlink()
            rmtree(bundle.folder)
        assert list(place.iterdir()) == []
    assert refused > MUTANTS // 3


def test_a_bundle_that_is_there_is_not_written_over(packed: Path, place: Path) -> None:
    unpack(packed, place)
    (place / "tiny" / "note").touch()
    with pytest.raises(BundleFault, match="there is a tiny already"):
        unpack(packed, place)
    assert (place / "tiny" / "note").exists()


def test_an_archive_or_folder_that_is_not_there_is_named(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="absent"):
        unpack(tmp_path / "absent.tar", tmp_path)
    with pytest.raises(StorageFault, match="nowhere"):
        unpack(packed, tmp_path / "nowhere")
    with pytest.raises(StorageFault, match="nowhere"):
        pack(tmp_path / "tiny", tmp_path / "nowhere" / "tiny.tar")
