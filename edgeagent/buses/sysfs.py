"""Reading one file of sysfs, as the kernel means its errors."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = 4096  # no attribute says more


def read_attribute(path: Path) -> str:
    """What it says.

    Raises OSError, also where a driver has no value yet (EAGAIN): Python's own files make a None of that, over which
    `Path.read_text` stumbles with a TypeError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, PAGE_BYTES).decode(errors="replace").strip()
    finally:
        os.close(fd)
