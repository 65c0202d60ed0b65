"""Cameras: still pictures, as the camera encoded them. What is in a picture is camera/picture.py's to say.

A camera takes pictures at its own pace. `take` gives the newest and counts those that nobody fetched: what comes faster
than it is used is dropped at the source, and never waits in a queue.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

MAX_BYTES = 15_000_000  # of a picture's file; the receiver of a sample takes 16 MB at most


class Still(NamedTuple):
    """One picture: the file as it came (JPEG, PNG or BMP).

    `t_mono_ns` is when it was taken, as near as can be known, `t_read_ns` when it had arrived whole; `skipped` counts
    the pictures that the camera had taken since the last one and that were dropped for this newer one.
    """

    data: bytes
    t_mono_ns: int
    t_read_ns: int
    skipped: int = 0


class Camera(Protocol):
    """One camera. One thread calls everything."""

    name: str
    """As it is shown in faults."""

    def open(self) -> None:
        """Connect, from nothing each time. Raises DeviceFault."""
        ...

    def take(self, wait_ns: int) -> Still | None:
        """The newest picture that was not given before; None if there is none in time. Raises DeviceFault."""
        ...

    def close(self) -> None:
        """Let go of it; never raises."""
        ...
