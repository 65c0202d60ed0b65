"""The control socket: `control.sock`, mode 0660, one JSON object a line each way.

    -> {"command": "status"}
    <- {"ok": true, "result": {...}}      or      {"ok": false, "error": "..."}

Commands are registered by name and run in the core's thread, so that they see and change its state without a lock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.agent.threads import Command, Inbox
from edgeagent.errors import Fault, StorageFault

PATIENCE_S = 5.0
_MAX_LINE_BYTES = 65536

Commands = Mapping[str, Callable[[], Any]]


class ControlServer:
    """Answers one caller at a time; `run` is the body of a thread of its own."""

    def __init__(self, path: Path, commands: Commands, inbox: Inbox) -> None:
        self._path, self._commands, self._inbox = path, commands, inbox
        with suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
        except OSError as e:
            raise StorageFault(f"the control socket cannot be made ({e})", where=str(path)) from e
        os.chmod(path, 0o660)
        self._socket.listen(4)

    def run(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return  # closed
            with caller, suppress(OSError):
                caller.settimeout(PATIENCE_S)
                self._serve(caller)

    def _serve(self, caller: socket.socket) -> None:
        with caller.makefile("rb") as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                caller.sendall(msgspec.json.encode(self.answer(line)) + b"\n")

    def answer(self, line: bytes) -> dict[str, Any]:
        """What one request gets; a malformed one gets a sentence, not a closed door."""
        try:
            request = msgspec.json.decode(line)
            command = self._commands[request["command"]]
        except (msgspec.DecodeError, TypeError, KeyError):
            known = ", ".join(sorted(self._commands))
            return {"ok": False, "error": f'expected {{"command": NAME}} with one of: {known}'}
        reply: Future[Any] = Future()

        def run() -> None:
            try:
                reply.set_result(command())
            except Fault as fault:
                reply.set_exception(fault)

        self._inbox.put(Command(run))
        try:
            return {"ok": True, "result": reply.result(PATIENCE_S)}
        except Fault as fault:
            return {"ok": False, "error": str(fault)}
        except TimeoutError:
            return {"ok": False, "error": f"the agent did not answer within {PATIENCE_S:g} s"}

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()


def ask(run: Path, command: str) -> Any:
    """Ask the running agent. Raises StorageFault if none listens, Fault with its words if it refuses."""
    path = run / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(PATIENCE_S + 1)
        try:
            s.connect(str(path))
            s.sendall(msgspec.json.encode({"command": command}) + b"\n")
            with s.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline())
        except (OSError, msgspec.DecodeError) as e:
            raise StorageFault("no agent answers", where=str(path), hint="Is it running?") from e
    if not answer["ok"]:
        raise Fault(answer["error"])
    return answer["result"]
