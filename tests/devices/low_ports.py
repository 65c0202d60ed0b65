"""Ports that no outgoing connection takes, for servers that come and go."""

from __future__ import annotations

import random
import socket


def low_port() -> int:
    """SeaweedFS takes the one that is 10,000 higher too: both below those that the kernel gives to connections."""
    while True:
        port = random.randrange(11_000, 22_000)
        try:
            for number in (port, port + 10_000):
                socket.create_server(("127.0.0.1", number)).close()
        except OSError:
            continue
        return port
