"""What can go wrong, by who is to blame.

`Fault` is theirs: a device, a network, a file, a config. It is expected, handled, and worded for the technician:
where, what was found, what was expected, what to do next. `Bug` is ours: nothing handles it but the
outermost frame, which ends the process with exit code 70. Each fault is also the builtin that a caller
who has never heard of edgeagent would catch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Fault(Exception):
    """Something outside this program is not as it must be.

    Args:
        what: What was found, in a technician's words.
        where: File and line, port and address, or URL; "" if `what` says it.
        expected: What would have been right; "" if that is plain.
        hint: What to do next; "" if nothing can be said.
    """

    def __init__(self, what: str, *, where: str = "", expected: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.hint = what, where, expected, hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f"; expected {self.expected}"
        if not self.hint:
            return text
        return f"{text} {self.hint}" if text.endswith((".", "?")) else f"{text}. {self.hint}"


class ConfigFault(Fault, ValueError):
    """The YAML, or what it names, cannot be used."""


class BundleFault(Fault, ValueError):
    """A model bundle is incomplete, altered, or does not fit."""


class InferenceFault(Fault, RuntimeError):
    """The model could not be run: the worker died, hung or refused."""


class DeviceFault(Fault, OSError):
    """A sensor, bus or actuator does not answer as it must."""


class DeviceGone(DeviceFault):
    """Nothing answers at the port or address: unplugged, unpowered or miswired."""


class DeviceDenied(DeviceFault, PermissionError):
    """It is there, and this user may not open it."""


class WrongDevice(DeviceFault):
    """Something answers, and it is not what the config says."""


class StorageFault(Fault, OSError):
    """The disk, the outbox or a dataset cannot be read or written."""


@contextmanager
def disk(what: str, *, where: object, hint: str = "") -> Iterator[None]:
    """What the system refuses in here is a StorageFault: `what` cannot be done, `where`, and the system's reason."""
    try:
        yield
    except Fault:
        raise  # some are an OSError too
    except OSError as e:
        strange = f": {e.filename}" if e.filename and str(e.filename) != str(where) else ""
        raise StorageFault(f"{what} ({e.strerror or e}{strange})", where=str(where), hint=hint) from e


class UpstreamFault(Fault, ConnectionError):
    """An upstream is away, slow or refuses; what was sent is kept.

    `retry_after_s` is how long it has asked to be left alone; `may_be_a_record` says that it is there, and that
    what was sent may be what it fails at.
    """

    retry_after_s = 0.0
    may_be_a_record = False


class Bug(RuntimeError):
    """We broke a promise to ourselves: stop and report it."""
