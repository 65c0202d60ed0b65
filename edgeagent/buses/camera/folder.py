"""A folder of pictures in place of a camera: to try a config without one, or for pictures that others put there."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from edgeagent.buses.camera import MAX_BYTES, Still
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.timebase import Clock

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class FolderCamera:
    """Its pictures in the order of their names, over and over; the folder is read anew for each round."""

    def __init__(self, folder: str, clock: Clock) -> None:
        self.name = folder
        self._folder, self._clock = Path(folder).expanduser(), clock
        self._round: deque[Path] = deque()

    def open(self) -> None:
        self._round.clear()
        self._begin_round()

    def take(self, wait_ns: int) -> Still | None:
        del wait_ns  # there is always one
        if not self._round:
            self._begin_round()
        picture, now_ns = self._round.popleft(), self._clock.now_ns()
        try:
            with picture.open("rb") as file:
                data = file.read(MAX_BYTES + 1)  # one byte more than may be: whoever looks at it says so
        except FileNotFoundError:
            return None  # deleted since the round began
        except OSError as e:
            raise DeviceFault(f"cannot be read ({e.strerror})", where=str(picture)) from e
        return Still(data, now_ns, self._clock.now_ns())

    def close(self) -> None:
        self._round.clear()

    def _begin_round(self) -> None:
        try:
            files = sorted(p for p in self._folder.iterdir() if p.suffix.lower() in SUFFIXES)
        except OSError as e:
            raise DeviceGone(
                f"the folder cannot be read ({e.strerror})", where=self.name, expected="a folder of pictures"
            ) from e
        if not files:
            raise DeviceGone("no picture is in the folder", where=self.name, expected=", ".join(SUFFIXES))
        self._round.extend(files)
