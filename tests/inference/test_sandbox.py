"""What a model's code cannot do any more, tried from inside a process that was confined."""

from __future__ import annotations

import json
import re
import resource
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tiny import write_bundle

from edgeagent.agent.clock import RealClock
from edgeagent.inference import sandbox
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor

pytestmark = pytest.mark.tflite_runtime


def confined(program: str) -> str:
    """What a program says that first gave up everything; 1 GB of address space."""
    text = f"from edgeagent.inference.sandbox import confine\nunset = confine(10**9)\n{program}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout


def test_everything_can_be_taken_here() -> None:
    assert json.loads(confined("import json; print(json.dumps(unset))")) == []


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_the_internet_is_out_of_reach(family: str, kind: str) -> None:
    said = confined(f"""
import socket
try:
    socket.socket(socket.{family}, socket.{kind})
except PermissionError as e:
    print("refused:", e)
""")
    assert said == "refused: [Errno 13] Permission denied\n"


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_NETLINK"])
def test_what_libusb_and_the_worker_need_is_not(family: str) -> None:
    kind = "SOCK_RAW" if family == "AF_NETLINK" else "SOCK_SEQPACKET"
    assert (
        confined(f"import socket; print(socket.socket(socket.{family}, socket.{kind}).fileno() > 0)")
        == "True\n"
    )


def test_a_ring_is_no_way_round() -> None:
    ring = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\nprint(libc.syscall(425, 8, 0), ctypes.get_errno())"
    assert confined(ring) == "-1 13\n"


def test_a_child_does_not_get_it_back() -> None:
    child = "import socket; socket.socket(socket.AF_INET)"
    said = confined(
        f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    )
    assert said == "1\n"


def test_memory_ends_at_the_limit_and_no_core_is_written() -> None:
    said = confined("""
import resource
try:
    bytearray(2 * 10**9)
except MemoryError:
    print("no more", resource.getrlimit(resource.RLIMIT_CORE))
""")
    assert said == "no more (0, 0)\n"


def test_a_program_that_is_set_user_id_gains_nothing() -> None:
    assert "NoNewPrivs:\t1" in confined("print(open('/proc/self/status').read())")


def judge(program: bytes, architecture: int, number: int, argument: int = 0) -> str:
    """What a BPF filter says of a system call: as the kernel would run it, on processors that are not here."""
    data = {0: number, 4: architecture, 16: argument}
    instructions = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[at]
        at += 1
        match code:
            case 0x20:
                accumulator = data[operand]
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return {0x7FFF0000: "allow", 0x0005000D: "refuse"}[operand]


@pytest.mark.parametrize(
    ("machine", "architecture", "socket_call", "read_call"),
    [
        ("x86_64", 0xC000003E, 41, 0),
        ("aarch64", 0xC00000B7, 198, 63),
        ("armv7l", 0x40000028, 281, 3),
    ],
)
def test_the_filter_is_right_on_every_processor_that_we_run_on(
    machine: str, architecture: int, socket_call: int, read_call: int
) -> None:
    """The numbers are the kernel's: linux/audit.h, asm/unistd.h."""
    program = sandbox._filter(machine)
    said = {family: judge(program, architecture, socket_call, family) for family in (1, 2, 10, 16)}
    assert said == {1: "allow", 2: "refuse", 10: "refuse", 16: "allow"}
    assert judge(program, architecture, read_call, 2) == "allow"
    assert judge(program, architecture, 425) == "refuse"  # io_uring_setup
    assert judge(program, architecture, 0x40000000 + socket_call, 2) == "refuse"  # x32
    assert judge(program, 0x40000003, read_call) == "refuse"  # i386, by its own numbers


def test_the_status_tells_how_the_worker_is_confined(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    with closing(Supervisor(bundle, "cpu", RealClock())) as engine:
        engine.start()
        assert engine.status()["unconfined"] == []
        pid = int(str(engine.status()["pid"]))
        size = 512_000_000 + 3 * bundle.variants[0].file.stat().st_size
        assert resource.prlimit(pid, resource.RLIMIT_AS)[0] == size
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert {"Seccomp:\t2", "NoNewPrivs:\t1"} <= set(Path(f"/proc/{pid}/status").read_text().splitlines())
    with closing(Inline(bundle, "cpu", RealClock())) as engine:
        engine.start()
        assert engine.status()["unconfined"] == ["everything: the model runs in the agent's own process"]


def test_what_cannot_be_taken_is_told_and_the_rest_is_taken(tmp_path: Path) -> None:
    """The kernel is asked to call this processor by another name, for which there is no filter."""
    bundle = write_bundle(tmp_path)
    said = confined(f"""
import ctypes
from pathlib import Path
from edgeagent.agent.clock import RealClock
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.supervisor import Supervisor
ctypes.CDLL(None).personality({_PER_LINUX32})
engine = Supervisor(load_bundle(Path({str(bundle.folder)!r})), "cpu", RealClock())
engine.start()
print(engine.status()["state"], engine.status()["unconfined"])
engine.close()
""")
    assert re.fullmatch(r"ok \['seccomp: no filter for \w+'\]\n", said)


_PER_LINUX32 = 8
