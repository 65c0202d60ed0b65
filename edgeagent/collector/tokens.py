"""Who may send, and for which devices: a file of tokens, and the names on certificates."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from ssl import SSLSocket
from typing import Any

from edgeagent.errors import ConfigFault

ALL = "*"
"""In a file of tokens: whichever device."""

Devices = frozenset[str]
"""The ids that a sender may use; with `*` among them it may use any."""

ANYONE: Devices = frozenset({ALL})


def speaks_for(devices: Devices, device: str) -> bool:
    return device in devices or ALL in devices


def both(one: Devices, other: Devices) -> Devices:
    """For whom somebody may speak who must be allowed to twice over."""
    return other if ALL in one else one if ALL in other else one & other


class Tokens:
    """The token of each device; that of `*` is for whichever. Without any, everybody is let in."""

    def __init__(self, of_device: Mapping[str, str] | None = None) -> None:
        self._tokens = dict(of_device or {})
        self._devices: defaultdict[bytes, set[str]] = defaultdict(set)
        for device, token in self._tokens.items():
            self._devices[_digest(token)].add(device)

    def devices(self, token: str) -> Devices:
        """For whom a token speaks. It is looked up by its hash: how long that takes tells nothing of a near miss."""
        return frozenset(self._devices.get(_digest(token), ())) if self._tokens else ANYONE

    def of(self, device: str) -> str | None:
        """A device's token."""
        return self._tokens.get(device, self._tokens.get(ALL))


def read_tokens(file: Path) -> Tokens:
    """A file with one token for all devices, or a line `DEVICE TOKEN` for each. Raises ConfigFault; shows no token."""
    lines = [line.split() for line in file.read_text().splitlines()]
    if len(words := list(chain(*lines))) == 1:
        return Tokens({ALL: words[0]})
    tokens: dict[str, str] = {}
    for number, words in enumerate(lines, 1):
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] in tokens:
            what = f"a second token for {words[0]}" if words[0] in tokens else "not a device's token"
            raise ConfigFault(what, where=f"{file}:{number}", expected="DEVICE TOKEN, one line a device")
        tokens[words[0]] = words[1]
    if not tokens:
        raise ConfigFault("the file is empty", where=str(file), expected="a token, or lines of DEVICE TOKEN")
    return Tokens(tokens)


def named_on_certificate(connection: Any) -> Devices:
    """The common name on the certificate that was shown on a connection; anyone, where none was asked for."""
    shown: Any = connection.getpeercert() if isinstance(connection, SSLSocket) else None
    if not shown:
        return ANYONE
    return frozenset(value for part in shown["subject"] for key, value in part if key == "commonName")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
