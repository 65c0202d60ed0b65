"""Three boards that run the C library: as a program, on an emulated Cortex-M3, and on an emulated Arduino Uno."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

C_FOLDER = Path(__file__).parents[2] / "firmware_bridge" / "c"
BUILD = C_FOLDER / "build"
START_PATIENCE_S = 90.0
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]  # a program, however this process ends


class Board(Protocol):
    """A running board: its port, its reset button, and its relay as it really is, whatever the firmware says."""

    firmware: str
    path: str

    def reset(self) -> None: ...

    def relay(self) -> bool: ...

    def close(self) -> None:
        """Pull the plug. Asserts that the board was still running."""
        ...


class _Program:
    """A program whose output says what its board does, line by line."""

    def __init__(self, command: Sequence[str | Path], port_line: str, pass_fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [*DIES_WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self.said = ""
        with killed_if_it_fails(self):
            self.path = self._wait_for(port_line)

    def _wait_for(self, port_line: str) -> str:
        end_s = time.monotonic() + START_PATIENCE_S
        while not (found := re.search(port_line, self.said)):
            assert time.monotonic() < end_s, self.said
            assert self._process.poll() is None, self.said
            select.select([self._output], [], [], 0.1)
            self.listen()
        return found[1]

    def listen(self) -> str:
        """All that it has said up to now."""
        self.said += (self._output.read() or b"").decode(errors="replace")
        return self.said

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.listen()
        self._output.close()

    def close(self) -> None:
        died = self._process.poll()
        self.kill()
        assert died is None, f"the board ended by itself with {died}:\n{self.said}"


@contextmanager
def killed_if_it_fails(program: _Program) -> Iterator[None]:
    """What cannot be handed to a test must not outlive the attempt."""
    try:
        yield
    except BaseException:
        program.kill()
        raise


class _Spoken:
    """A board whose program prints its relay, and has a signal for a reset button."""

    firmware: str

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._program = _Program(command, r"(?m)^port (\S+)$")
        self.path = self._program.path

    def reset(self) -> None:
        self._program.signal(signal.SIGUSR1)

    def relay(self) -> bool:
        states = re.findall(r"(?m)^relay ([01])$", self._program.listen())
        return bool(states) and states[-1] == "1"

    def close(self) -> None:
        self._program.close()


class HostBoard(_Spoken):
    """The firmware as a program, under AddressSanitizer and UBSan: what they find ends it."""

    firmware = "host-motor"

    def __init__(self) -> None:
        super().__init__([BUILD / "host-sanitized"])


class Uno(_Spoken):
    """The sketch on an ATmega328P under simavr, cycle by cycle."""

    firmware = "uno-analog"

    def __init__(self) -> None:
        super().__init__([BUILD / "simavr_uno", BUILD / "uno.elf"])


class CortexM:
    """The bare-metal firmware on QEMU's LM3S6965 with a TMP105 on its I2C bus.

    Args:
        sensor: Whether the TMP105 is there.
    """

    firmware = "cortex-m-bare"
    _RELAY = 0x400253FC  # GPIOF's data register, all bits; the relay is bit 0

    def __init__(self, *, sensor: bool = True) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_PATIENCE_S)
        machine = ["-M", "lm3s6965evb", "-display", "none", "-kernel", str(BUILD / "cortex-m.elf")]
        # Time goes by the instructions run, 128 ns each, and waits for ours: a starved emulator is slow, and its time
        # never jumps. (`shift=auto` lets instructions take longer to make up for lost time, ten times our pace.)
        machine += ["-icount", "shift=7,align=on"]
        line = ["-chardev", "pty,id=line", "-serial", "chardev:line"]
        control = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
        tmp105 = ["-device", "tmp105,id=tmp105,address=0x48"] if sensor else []
        command = ["qemu-system-arm", *machine, *line, *control, *tmp105]
        self._program = _Program(command, r"redirected to (\S+) \(label line\)", [theirs.fileno()])
        theirs.close()
        self.path = self._program.path
        self._replies = self._control.makefile("r")
        with killed_if_it_fails(self._program):
            self._command("qmp_capabilities")

    def reset(self) -> None:
        self._command("system_reset")

    def hang(self) -> None:
        """Stop the processor, its timers and all."""
        self._command("stop")

    def go_on(self) -> None:
        self._command("cont")

    def relay(self) -> bool:
        """The pin itself: what is read from the port's data register."""
        said = self._command("human-monitor-command", **{"command-line": f"xp /1wx {self._RELAY:#x}"})
        return bool(int(said.split()[-1], 16) & 1)

    def set_temperature(self, celsius: float) -> None:
        """What the TMP105 measures from now on."""
        self._command(
            "qom-set",
            path="/machine/peripheral/tmp105",
            property="temperature",
            value=round(celsius * 1000),
        )

    def close(self) -> None:
        self._replies.close()
        self._control.close()
        self._program.close()

    def _command(self, name: str, **arguments: Any) -> Any:
        self._control.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        for line in self._replies:
            reply = json.loads(line)
            assert "error" not in reply, reply
            if "return" in reply:
                return reply["return"]
        raise AssertionError("QEMU has closed its control socket")
