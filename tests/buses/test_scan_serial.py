"""The scan of serial ports, on ptys: at which speed somebody speaks, and what it does to whom nobody understands."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest

from edgeagent.agent.clock import RealClock
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.scan.found import Device
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.serial import scan_serial
from edgeagent.demo.workbench import lay

PATIENCE_S = 60.0  # to listen at each speed; a port where enough was heard is done with at once
LINE = b"2.41,42.7,1013.25\r\n"
SAY_EVERY_S = 0.002


@contextmanager
def speaking(says: Callable[[int], bytes]) -> Iterator[FakePort]:
    """A device that goes on and on; what arrives of it depends on the host's speed, as on a real wire."""
    port, stop = FakePort(), Event()
    near_fd = os.open(port.path, os.O_RDWR | os.O_NOCTTY)

    def speak() -> None:
        while not stop.wait(SAY_EVERY_S):
            with suppress(BlockingIOError):
                port.send(says(termios.tcgetattr(near_fd)[4]))

    thread = Thread(target=speak)
    thread.start()
    yield port
    stop.set()
    thread.join()
    os.close(near_fd)
    port.unplug()


def scanned(root: Path, port: FakePort, listen_s: float = PATIENCE_S) -> Device:
    lay(root, "sys/class/tty/ttyUSB0/device/", "")
    lay(root, "dev/ttyUSB0", f"-> {port.path}")
    (device,) = scan_serial(Machine(RealClock(), root), listen_s).devices
    return device


@pytest.mark.parametrize(("speed", "baud"), [(termios.B9600, 9600), (termios.B4800, 4800)])
def test_the_speed_is_the_one_at_which_what_is_said_makes_sense(
    speed: int, baud: int, tmp_path: Path
) -> None:
    noise = Random(1)
    with speaking(lambda at: LINE if at == speed else noise.randbytes(10)) as port:
        device = scanned(tmp_path, port)
    assert device.name == "lines of 3 numbers"
    assert device.sensor is not None
    assert (device.sensor["driver"], device.sensor["baud"]) == ("serial_text", baud)


def test_what_makes_no_sense_at_any_speed_is_said_to_be_there(tmp_path: Path) -> None:
    noise = Random(1)
    with speaking(lambda _: noise.randbytes(10)) as port:
        device = scanned(tmp_path, port)
    assert "makes no sense at any usual speed" in device.why
    assert device.sensor is None


def test_nothing_is_written_to_who_does_not_speak_firmware_bridge(tmp_path: Path) -> None:
    port = FakePort()
    assert scanned(tmp_path, port, listen_s=0.05).why == "silent"
    assert port.receive() == b""
    port.unplug()


def test_who_holds_a_port_is_found_among_the_running_programs() -> None:
    port = FakePort()
    code = (
        "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, port.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (who,) = Machine(RealClock()).holders()[port.path]
        holder.communicate()
    assert who.endswith(f" (pid {holder.pid})")
    assert not who.startswith("?")
    port.unplug()
