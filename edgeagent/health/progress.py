"""The watchdog's judgement: is every part that must move still moving?

A process that answers is not yet one that works: the core may wait for a lock, the writer for a dead SD card. So
each thread that the job hangs on reports progress each time it comes round its loop, idle or not, and the service
manager is fed only while all of them did so within their own bound. No I/O; time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.records import NS_PER_S


class Progress:
    """When each watched part last made progress. Any thread may report, one at a time a part."""

    def __init__(self) -> None:
        self._bounds_ns: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}

    def watch(self, part: str, bound_s: float, now_ns: int) -> Callable[[int], None]:
        """Expect progress of `part` every `bound_s`, from now on. The part calls what comes back with its now_ns."""
        self._last_ns[part] = now_ns
        self._bounds_ns[part] = round(bound_s * NS_PER_S)

        def made(now_ns: int) -> None:
            self._last_ns[part] = now_ns

        return made

    def forget(self, part: str) -> None:
        """The part ended as it should; what it still reports changes nothing."""
        self._bounds_ns.pop(part, None)

    def alive(self, now_ns: int) -> tuple[bool, str]:
        """Whether all parts move, and else which do not: "no progress: writer for 12.0 s (bound 10 s)"."""
        stuck = [
            f"{part} for {(now_ns - self._last_ns[part]) / NS_PER_S:.1f} s (bound {bound_ns / NS_PER_S:g} s)"
            for part, bound_ns in list(self._bounds_ns.items())
            if now_ns - self._last_ns[part] > bound_ns
        ]
        return not stuck, f"no progress: {', '.join(stuck)}" if stuck else ""
