"""Real brokers, each on a port of its own, and somebody who listens to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections import defaultdict
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE_S = 60
MARK = "the/tests/mark"

# Nothing is held back from a listener, so that what was acknowledged has gone to its socket before a kill.
PLAIN = ("allow_anonymous true", "max_inflight_messages 0", "max_queued_messages 0")


def program(name: str) -> str:
    """Where it may be installed it must be there; elsewhere the tests say what they lack."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = shutil.which(name, path=path)
    if found is None and os.getuid() != 0 and "CI" not in os.environ:
        pytest.skip(f"not run: needs {name}")
    assert found is not None, f"needs {name}: sudo apt install {name}"
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Broker:
    """A broker that is up from the constructor on, and tells its log when it is."""

    ready: str

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.host = host
        self.log = folder / "broker.log"
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"mqtt://{self.host}:{self.port}"

    def start(self) -> None:
        """Returns when it is listening: it says so in its log."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        for _ in range(PATIENCE_S * 100):
            if self.ready in self.log.read_text():
                return
            assert self._process.poll() is None, self.log.read_text()
            Event().wait(0.01)
        raise AssertionError(self.log.read_text())

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a power cut of the broker: nothing is said to anybody."""
        self._process.kill()
        self._process.wait()

    stop = kill


class Mosquitto(Broker):
    """With the lines of its configuration."""

    ready = "running"

    def __init__(self, folder: Path, *lines: str, host: str = "127.0.0.1") -> None:
        self._config, self._lines = folder / "mosquitto.conf", lines or PLAIN
        super().__init__(folder, host)

    def command(self) -> list[str]:
        user = f"user {os.environ.get('USER', 'root')}" if os.getuid() == 0 else ""
        self._config.write_text("\n".join([f"listener {self.port} {self.host}", user, *self._lines, ""]))
        return [program("mosquitto"), "-c", str(self._config), "-v"]


class Nats(Broker):
    """Debian's nats-server: its gateway speaks MQTT 3.1.1, and JetStream stores what comes by QoS 1."""

    ready = "Server is ready"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(folder)

    def command(self) -> list[str]:
        config = self._folder / "nats.conf"
        config.write_text(
            f"""
            server_name: plant
            listen: "127.0.0.1:{free_port()}"
            jetstream {{ store_dir: "{self._folder / "jetstream"}" }}
            mqtt {{ listen: "127.0.0.1:{self.port}" }}
            """
        )
        return [program("nats-server"), "-c", str(config)]


class Listener:
    """Subscribes to everything, and keeps what comes."""

    def __init__(self, broker: Broker, topics: str = "#") -> None:
        self._broker, self._topics = broker, topics
        self.messages: list[tuple[str, bytes]] = []
        self._marks: dict[bytes, Event] = defaultdict(Event)
        self._count = 0
        self._client: Client | None = None
        self.join()

    def join(self) -> None:
        """Connect, and return when the subscription holds."""
        subscribed = Event()
        client = self._client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        self._gone = gone = Event()
        client.on_disconnect = lambda *_: gone.set()
        client.on_message = self._heard
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect(self._broker.host, self._broker.port)
        client.subscribe([(self._topics, 0), (MARK, 0)])
        client.loop_start()
        assert subscribed.wait(PATIENCE_S), self._broker.log.read_text()

    def _heard(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        payload = bytes(message.payload)
        if message.topic == MARK:
            self._marks[payload].set()
        else:
            self.messages.append((message.topic, payload))

    def heard(self) -> list[tuple[str, bytes]]:
        """All that the broker had acknowledged when this was called: a mark went through it behind that."""
        assert self._client is not None
        self._count += 1
        mark = str(self._count).encode()
        self._client.publish(MARK, mark)
        assert self._marks[mark].wait(PATIENCE_S), self._broker.log.read_text()
        return list(self.messages)

    def outlive(self) -> None:
        """The broker is dead: return when the last has been read of what it had sent."""
        assert self._gone.wait(PATIENCE_S)
        self.leave()

    def leave(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None


def ids(messages: list[tuple[str, bytes]]) -> list[str]:
    """The records' ids, each once, in the order in which they came first."""
    return list(dict.fromkeys(record["id"] for _, payload in messages for record in _records(payload)))


def _records(payload: bytes) -> list[dict[str, Any]]:
    """Of one record or a batch, MessagePack or JSON."""
    decode = msgspec.json.decode if payload[:1] in (b"{", b"[") else msgspec.msgpack.decode
    found = decode(payload)
    return found if isinstance(found, list) else [found]
