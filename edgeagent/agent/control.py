"""The control socket: `control.sock`, mode 0660, one JSON object a line each way.

    -> {"command": "status"}                or, with arguments, {"command": "outbox", "do": "list", "limit": 20}
    <- {"ok": true, "result": {...}}      or      {"ok": false, "error": "..."}

Commands are registered by name and run in the core's thread, so that they see and change its state without a lock;
one that takes longer returns a Future at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from inspect import signature
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import msgspec

from edgeagent.agent.threads import Command, Inbox, spawn
from edgeagent.errors import Fault, StorageFault

PATIENCE_S = 5.0
BEGUN_PATIENCE_S = 120.0  # for what the core has begun with: a reload, or a model to load on a slow card
CALLERS = 8
_MAX_LINE_BYTES = 65536

Commands = Mapping[str, Callable[..., Any]]


class Refused(Fault):
    """The agent answered, but not with what it was asked for."""


class ControlServer:
    """Answers callers, each in a thread of its own, so that one who says nothing holds up nobody.

    `run`, the body of the thread that lets them in, has room for `CALLERS`; the next one waits at the door.
    """

    def __init__(self, path: Path, commands: Commands, inbox: Inbox) -> None:
        self._path, self._commands, self._inbox = path, commands, inbox
        self._places = BoundedSemaphore(CALLERS)
        with suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            os.chmod(path, 0o660)
        except OSError as e:
            self._socket.close()
            raise StorageFault(
                f"the control socket cannot be made ({e})",
                where=str(path),
                expected="a folder that this user may write, its path shorter than 100 characters",
                hint="Give the agent another `state:`",
            ) from e
        self._socket.listen(CALLERS)

    def run(self) -> None:
        while True:
            self._places.acquire()
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return  # closed
            spawn("control caller", partial(self._serve, caller), self._inbox)

    def _serve(self, caller: socket.socket) -> None:
        with caller, suppress(OSError), caller.makefile("rb") as lines:
            caller.settimeout(PATIENCE_S)
            while line := lines.readline(_MAX_LINE_BYTES):
                caller.sendall(msgspec.json.encode(self.answer(line)) + b"\n")
        self._places.release()

    def answer(self, line: bytes) -> dict[str, Any]:
        """What one request gets; a malformed one gets a sentence, not a closed door."""
        try:
            request = msgspec.json.decode(line)
            command = partial(self._commands[request.pop("command")], **request)
            signature(command).bind()
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            # That is all that a stranger's bytes can lead to.
            known = ", ".join(sorted(self._commands))
            return {"ok": False, "error": f'expected {{"command": NAME}} with one of: {known}'}
        reply: Future[Any] = Future()

        def run() -> None:
            try:
                reply.set_result(command())
            except Fault as fault:
                reply.set_exception(fault)

        self._inbox.put(Command(run))
        patience_s = PATIENCE_S
        try:
            result = reply.result(patience_s)
            if isinstance(result, Future):  # the core has only begun with it
                patience_s = BEGUN_PATIENCE_S
                result = result.result(patience_s)
            return {"ok": True, "result": result}
        except Fault as fault:
            return {"ok": False, "error": str(fault)}
        except TimeoutError:
            return {"ok": False, "error": f"the agent did not answer within {patience_s:g} s"}

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()


def ask(run: Path, command: str, patience_s: float = 2 * PATIENCE_S + 1, **arguments: Any) -> Any:
    """Ask the running agent.

    Raises StorageFault if none listens, Refused with its words if it refuses, Fault if this user may not ask.
    """
    path = run / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(patience_s)
        try:
            s.connect(str(path))
            s.sendall(msgspec.json.encode({"command": command} | arguments) + b"\n")
            with s.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline())
        except PermissionError as e:
            raise Fault(
                "this user may not ask the agent",
                where=str(path),
                hint="Use sudo, or `sudo usermod -aG edgeagent USER` and log in again",
            ) from e
        except (OSError, msgspec.DecodeError) as e:
            raise StorageFault("no agent answers", where=str(path), hint="Is it running?") from e
    if not answer["ok"]:
        raise Refused(answer["error"])
    return answer["result"]
