"""What a worker gives up before it opens a model: memory without end, core files, new rights, the internet.

A model or a delegate is foreign code. libusb needs AF_NETLINK and the worker's own pipes AF_UNIX, so the filter
refuses just AF_INET and AF_INET6. By ctypes: neither libseccomp nor a package is needed for nine instructions.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
from collections.abc import Callable

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_SET_NO_NEW_PRIVS = 38

# linux/audit.h; the number of socket(2) there. Numbers of another architecture's calls are refused altogether.
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 41),
    "aarch64": (0xC00000B7, 198),
    "armv7l": (0x40000028, 281),
}
_IO_URING_SETUP = 425  # the same on all: a ring opens sockets without socket(2)
_FIRST_X32 = 0x40000000  # the other way to number calls on x86-64

# linux/seccomp.h and bpf_common.h
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def confine(memory_bytes: int) -> list[str]:
    """Take it all from this process. Returns what could not be taken, and why.

    Args:
        memory_bytes: How large the address space may become. A malformed model asked for 11 GB.
    """
    refused = []
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("RLIMIT_AS", lambda: limit_memory(memory_bytes)),
        ("RLIMIT_CORE", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
        ("no_new_privs", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)),
        ("seccomp", _refuse_internet),
    )
    for name, step in steps:
        try:
            step()
        except (OSError, ValueError) as e:
            refused.append(f"{name}: {e}")
    return refused


def limit_memory(size_bytes: int) -> None:
    """The soft limit, which can be raised for the next model. Raises OSError or ValueError."""
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _refuse_internet() -> None:
    program = _filter(_machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    head = _Program(len(program) // 8, ctypes.addressof(buffer))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head))


def _machine() -> str:
    """What this process runs as: a 32-bit Raspberry Pi OS has a 64-bit kernel, which calls itself that."""
    machine = platform.machine()
    return (
        {"aarch64": "armv7l", "armv8l": "armv7l"}.get(machine, machine)
        if struct.calcsize("P") == 4
        else machine
    )


def _filter(machine: str) -> bytes:
    """The BPF program: each instruction is its code, the jumps if true and if false, and an operand."""
    if machine not in _ARCHITECTURES:
        raise OSError(f"no filter for {machine}")
    architecture, socket_call = _ARCHITECTURES[machine]
    instructions = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 0, 8, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 6, 0, _FIRST_X32),
        (_IF_EQUAL, 5, 0, _IO_URING_SETUP),
        (_IF_EQUAL, 0, 3, socket_call),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_IF_EQUAL, 2, 0, socket.AF_INET),
        (_IF_EQUAL, 1, 0, socket.AF_INET6),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def _prctl(option: int, second: int, third: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(second), ctypes.c_void_p(third), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
