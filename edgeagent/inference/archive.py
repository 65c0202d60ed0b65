"""A bundle as one file, the same bytes each time; and back, with nothing in the file taken on trust.

It is a plain tar: a folder with the bundle's name, its files in order, no owner and no time. Not compressed: an int8
model hardly shrinks, what deflate makes differs from zlib to zlib, and what is not compressed cannot swell when it is
unpacked. An archive that differs in a single byte from what packing its content gives is refused; who made the content
is for a signature to say.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeagent.errors import BundleFault, StorageFault, disk
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.names import must_name_a_file

MAX_BYTES = 200_000_000
MAX_FILES = 1000
_NOT_PACKED = "__pycache__"
# What tarfile raises of its own, and what two members that cannot both be there lead to.
_MALFORMED = (
    *(tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError),
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
)
_MOST = f"one folder with at most {MAX_FILES} files of {MAX_BYTES / 1e6:.0f} MB together"
_AGAIN = "Ask for the archive again, made by `edgeagent model pack`"


def archive_name(bundle: Bundle) -> str:
    """`activity-1.0.0.tar`."""
    return f"{bundle.name}-{bundle.version}.tar"


def pack(folder: Path, archive: Path) -> Bundle:
    """Write a bundle that is sound into a file, all of the folder but hidden files and Python's caches.

    Raises:
        BundleFault: It is not sound, or holds what an archive may not: a link, a device, too much.
        StorageFault: The file cannot be written.
    """
    bundle = _sound(folder)
    must_name_a_file(bundle.name, bundle.version, where=str(folder / "bundle.yaml"))
    if archive.resolve().is_relative_to(folder.resolve()):
        raise BundleFault("the archive would be in itself", where=str(archive), expected="another folder")
    part = archive.with_name(f".{archive.name}.part")
    with disk("it cannot be written", where=archive):
        try:
            _write(folder, bundle.name, part)
            part.replace(archive)
        finally:
            part.unlink(missing_ok=True)
    return bundle


def unpack(archive: Path, place: Path) -> Bundle:
    """Make the bundle's folder in `place`, whole or not at all.

    Raises:
        BundleFault: The archive is not one of `pack`, was altered or cut short, or the bundle is there already.
        StorageFault: It cannot be read, or the folder cannot be written.
    """
    if not os.path.isdir(place):
        raise StorageFault("there is no such folder", where=str(place), hint="Make it, or choose another")
    with disk("it cannot be read", where=archive):
        size = archive.stat().st_size
    if size > MAX_BYTES:
        raise _refusal(archive, f"it is {size / 1e6:.0f} MB", f"at most {MAX_BYTES / 1e6:.0f} MB")
    with (
        disk("the archive cannot be unpacked here", where=place),
        TemporaryDirectory(prefix=".unpacking-", dir=place) as scratch,
    ):
        name = _extract(archive, Path(scratch))
        folder, target = Path(scratch) / name, place / name
        bundle = _sound(folder)
        again = Path(scratch) / "again.tar"
        _write(folder, bundle.name, again)
        if not filecmp.cmp(again, archive, shallow=False):
            raise _refusal(archive, "it is not, byte for byte, what its content gives when it is packed")
        if os.path.lexists(target):
            raise BundleFault(
                f"there is a {name} already",
                where=str(target),
                hint="Remove it first, or choose another folder",
            )
        folder.rename(target)
    return load_bundle(target)


def _sound(folder: Path) -> Bundle:
    bundle = load_bundle(folder)
    for variant in bundle.variants:
        variant.read()
    return bundle


# --- writing ------------------------------------------------------------------------------------------


def _write(folder: Path, name: str, archive: Path) -> None:
    with tarfile.open(archive, "w:", format=tarfile.PAX_FORMAT) as tar:
        for file in _files(folder):
            member = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
            member.size, member.mode = file.stat().st_size, 0o644
            with file.open("rb") as data:
                tar.addfile(member, data)


def _files(folder: Path) -> list[Path]:
    """All files of a bundle, in an order that is the same everywhere. Raises BundleFault for what is no file."""
    files, total_bytes = sorted(_walk(folder), key=lambda file: file.as_posix()), 0
    for file in files:
        if file.is_symlink() or not file.is_file() or not file.name.isprintable():
            raise BundleFault(
                f"{file.relative_to(folder)} is a link or no ordinary file",
                where=str(folder),
                expected="files and folders only",
                hint="Put the file itself there, or take it away",
            )
        total_bytes += file.stat().st_size
    if total_bytes > MAX_BYTES or len(files) > MAX_FILES:
        raise BundleFault(
            f"{len(files)} files of {total_bytes / 1e6:.1f} MB",
            where=str(folder),
            expected=f"at most {MAX_FILES} files of {MAX_BYTES / 1e6:.0f} MB together",
            hint="Keep the training data elsewhere",
        )
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == _NOT_PACKED:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


# --- reading ------------------------------------------------------------------------------------------


def _extract(archive: Path, scratch: Path) -> str:
    """Write the members under `scratch`; the name of the one folder that they are in."""
    tops, total_bytes, count = set(), 0, 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                tops.add(_checked(archive, member).split("/")[0])
                total_bytes, count = total_bytes + member.size, count + 1
                if total_bytes > MAX_BYTES or count > MAX_FILES or len(tops) > 1:
                    raise _refusal(archive, "it holds more than one bundle, or too much", _MOST)
                _copy(tar, member, scratch / member.name)
    except BundleFault:
        raise
    except _MALFORMED as e:
        raise _refusal(archive, f"it is damaged, cut short, or no tar ({e})") from e
    if not tops:
        raise _refusal(archive, "it is empty")
    return str(tops.pop())


def _checked(archive: Path, member: tarfile.TarInfo) -> str:
    """The member's name, if it is that of an ordinary file inside a folder."""
    name = member.name
    parts = name.split("/")
    if member.type != tarfile.REGTYPE or member.issparse():
        raise _refusal(
            archive, f"{name!r} in it is a {_KINDS.get(member.type, 'special file')}", "ordinary files"
        )
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts) or not name.isprintable():
        raise _refusal(archive, f"{name!r} in it leads out of the bundle's folder")
    return name


_KINDS = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.DIRTYPE: "folder entry"}


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> None:
    data = tar.extractfile(member)
    assert data is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as out:
        shutil.copyfileobj(data, out)


def _refusal(archive: Path, what: str, expected: str = "") -> BundleFault:
    return BundleFault(what, where=str(archive), expected=expected, hint=_AGAIN)
