"""The demo's microcontroller: the C firmware as a program where there is a compiler, else the one in Python."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from threading import Event, Thread
from typing import IO

from edgeagent import __version__
from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.buses.fake.board import Firmware, VirtualBoard

RATE_HZ = 20
MAX_FAILSAFE_MS = 65_535  # HELLO has 16 bits for it


@contextmanager
def board_at(port: Path, clock: RealClock, log: IO[bytes]) -> Iterator[None]:
    """A running board whose serial port is `port`."""
    # A real stall is `speed` times as long for the board: it must not take that for a dead host.
    failsafe_ms = min(max(5_000, round(2_000 * clock.speed)), MAX_FAILSAFE_MS)
    program = _compile(port.with_name("firmware"), log)
    if program is None:
        yield from _in_python(port, clock, failsafe_ms)
    else:
        yield from _in_c(program, port, clock, failsafe_ms, log)


def _compile(program: Path, log: IO[bytes]) -> Path | None:
    """The host example of the C library, in about a second; None where that cannot be."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with as_file(files("firmware_bridge") / "c") as library:
        sources: list[str | Path] = [
            library / "examples" / "host" / "host.c",
            *sorted((library / "src").glob("*.c")),
        ]
        flags = ["-std=c99", "-O2", f'-DFWB_BUILD_ID="{__version__}"', f"-I{library / 'src'}"]
        command = [compiler, *flags, *sources, "-lm", "-o", program]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    return program if done.returncode == 0 else None


def _in_c(program: Path, port: Path, clock: RealClock, failsafe_ms: int, log: IO[bytes]) -> Iterator[None]:
    command: list[str | Path] = [
        program,
        "--link",
        port,
        "--rate",
        str(RATE_HZ),
        "--failsafe",
        str(failsafe_ms),
    ]
    command += ["--clock", clock.spec] if isinstance(clock, ScaledClock) else []
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is the scene's to hand on
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()  # the port is there
        try:
            yield
        finally:
            process.kill()
            process.wait()
            port.unlink(missing_ok=True)


def _in_python(port: Path, clock: RealClock, failsafe_ms: int) -> Iterator[None]:
    board, stop = VirtualBoard(clock, port, Firmware(rate_hz=RATE_HZ, failsafe_ms=failsafe_ms)), Event()
    thread = Thread(target=board.serve, args=(stop,), name="board")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        board.unplug()
