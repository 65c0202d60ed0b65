"""Proportional set size of the agent and its worker, with an I2C and a serial sensor and a TLS context loaded.

Raw is a bare Python that has imported numpy and LiteRT.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event, Thread

from bench.agent import running, scratch, write_config
from bench.figure import Figure
from bench.pss import alone_mb, pss_mb

SETTLE_S = 15.0
MAX_MB = {"process": 90, "inline": 68}

SERIAL = """\
  press: {{driver: serial_text, port: {port}, baud: 115200, rate: 20 Hz,
          channels: [{{name: current, unit: A}}, {{name: temperature, unit: degC}}]}}
"""
UPSTREAM = """\
upstream:
  fleet: {{http: {{url: "https://127.0.0.1:{port}"}}}}
"""


def measure() -> Iterator[Figure]:
    raw_mb = _raw_mb()
    for isolation, max_mb in MAX_MB.items():
        mb, with_neighbours_mb = _agent_mb(isolation)
        yield Figure(
            f"memory, isolation: {isolation}",
            f"{mb:.1f} MB",
            f"{raw_mb:.1f} MB",
            f"{mb / raw_mb:.1f}",
            f"< {max_mb} MB",
            mb < max_mb,
        )
        yield Figure("  as the kernel shares it out here", f"{with_neighbours_mb:.1f} MB")


def _agent_mb(isolation: str) -> tuple[float, float]:
    """On its own, and with the libraries shared with whoever else runs Python here.

    A receiver that accepts and says nothing is enough to make the agent load its certificates.
    """
    master, slave = os.openpty()
    done = Event()
    printer = Thread(target=_print_lines, args=(master, done))
    printer.start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as receiver, scratch() as folder:
            config = write_config(
                folder,
                sensors=SERIAL.format(port=os.ttyname(slave)),
                upstream=UPSTREAM.format(port=receiver.getsockname()[1]),
                isolation=isolation,
            )
            with running(config) as agent:
                agent.wait_for_model()
                time.sleep(SETTLE_S)
                pids = [process.pid for process in agent.processes()]
                return alone_mb(pids), pss_mb(pids)
    finally:
        done.set()
        printer.join()
        os.close(master)
        os.close(slave)


def _print_lines(master: int, done: Event) -> None:
    """What people's Arduinos print, 20 times a second."""
    while not done.wait(0.05):
        os.write(master, b"1.25,21.5\r\n")


def _raw_mb() -> float:
    program = "import numpy, ai_edge_litert.interpreter; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        mb = alone_mb([process.pid])
        process.communicate(b"\n")
    return mb
