"""A network camera by the address that answers with one picture, as most have (`/snapshot.jpg`)."""

from __future__ import annotations

import re

import urllib3
from urllib3.exceptions import HTTPError

from edgeagent.buses.camera import MAX_BYTES, Still
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone
from edgeagent.timebase import Clock

TIMEOUT_S = 5.0  # for the connection, and between any two pieces of the picture
LONGEST_S = 10.0
PIECE_BYTES = 65536

_FOR_PROGRAMMERS = re.compile(r"HTTPS?Connection(Pool)?\([^)]*\): |\[Errno -?\d+\] ")


class SnapshotCamera:
    """Takes a picture when asked; there is nothing to skip. `login` is USER:PASSWORD, "" where none is asked for."""

    def __init__(self, url: str, clock: Clock, login: str = "") -> None:
        self.name = url
        self._headers = urllib3.make_headers(basic_auth=login) if login else {}
        self._clock = clock
        self._pool: urllib3.PoolManager | None = None

    def open(self) -> None:
        """A first picture is taken for nothing: a camera that does not answer is none that was opened."""
        self.close()
        timeout = urllib3.Timeout(connect=TIMEOUT_S, read=TIMEOUT_S)
        self._pool = urllib3.PoolManager(num_pools=1, timeout=timeout, retries=False)
        self.take(0)

    def take(self, wait_ns: int) -> Still | None:
        del wait_ns  # how long a network camera takes is its own affair; the time-outs bound it
        if self._pool is None:
            raise DeviceFault("the camera is not open", where=self.name)
        asked_ns = self._clock.now_ns()
        try:
            answer = self._pool.request("GET", self.name, headers=self._headers, preload_content=False)
            try:
                self._judge(answer.status, answer.headers.get("WWW-Authenticate", ""))
                answered_ns = self._clock.now_ns()
                data = self._body(answer)
            finally:
                answer.close()  # not kept alive: cheap cameras count their connections
        except HTTPError as e:
            raise DeviceGone(
                f"does not answer ({_reason(e)})",
                where=self.name,
                hint="Check its power, address and network.",
            ) from e
        return Still(data, (asked_ns + answered_ns) // 2, self._clock.now_ns())

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.clear()

    def _judge(self, status: int, wanted: str) -> None:
        if status == 401 and wanted.lower().startswith("digest"):
            raise DeviceDenied(
                "wants a login by Digest",
                where=self.name,
                expected="Basic",
                hint="Let the camera take that too, or find its address of snapshots without a login.",
            )
        if status in (401, 403):
            raise DeviceDenied(
                f"refuses (HTTP {status})", where=self.name, hint="Give it `user:` and `password:`."
            )
        if status != 200:
            raise DeviceFault(
                f"answers with HTTP {status}", where=self.name, expected="the address of a picture"
            )

    def _body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """The picture, bounded in size and in time: a camera that drips must not hold its reader up for ever."""
        data, end_ns = bytearray(), self._clock.now_ns() + round(LONGEST_S * 1e9)
        while piece := answer.read(PIECE_BYTES):
            data += piece
            if len(data) > MAX_BYTES:
                raise DeviceFault(f"sends more than {MAX_BYTES // 10**6} MB", where=self.name)
            if self._clock.now_ns() > end_ns:
                raise DeviceFault(f"takes more than {LONGEST_S:g} s for a picture", where=self.name)
        return bytes(data)


def _reason(error: HTTPError) -> str:
    """What urllib3 says of a failure, in as far as it is for people."""
    return _FOR_PROGRAMMERS.sub("", str(error))
