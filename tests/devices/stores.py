"""Real S3-compatible stores, each on a port of its own, and somebody who looks into them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import obstore
import urllib3
from backports import zstd
from low_ports import low_port
from obstore.store import S3Store

ACCESS_KEY, SECRET_KEY = "AKIDEDGEAGENTTESTS", "battery-staple-horse"
BUCKET = "fleet"
PATIENCE_S = 60
_PROGRAMS = Path(sys.executable).parent


class ObjectStore:
    """A server that is up from the constructor on, with a bucket in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, low_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "store.log"
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Returns when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        for _ in range(PATIENCE_S * 20):
            if self._answers():
                return
            assert self._process.poll() is None, self.log.read_text(errors="replace")
            Event().wait(0.05)
        raise AssertionError(self.log.read_text(errors="replace"))

    def _answers(self) -> bool:
        try:
            made = urllib3.request("PUT", f"{self.url}/{BUCKET}", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return False
        return made.status in (200, 409)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """All that is in a folder of the bucket, by its name."""
        store = self._client()
        paths = sorted(one["path"] for some in obstore.list(store, prefix) for one in some)
        return {path: bytes(obstore.get(store, path).bytes()) for path in paths}

    def put(self, path: str, body: bytes) -> None:
        obstore.put(self._client(), path, body)

    def _client(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )


class Seaweed(ObjectStore):
    """SeaweedFS: what it has answered for is on its disk, and outlives it."""

    def __init__(self, folder: Path) -> None:
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        agent = {"name": "agent", "credentials": keys, "actions": everything}
        anybody = {"name": "anonymous", "actions": everything}
        self._ports = [f"-{part}.port={low_port()}" for part in ("master", "volume", "filer")]
        (folder / "s3.json").write_text(json.dumps({"identities": [agent, anybody]}))
        (folder / "data").mkdir()
        super().__init__(folder)

    def command(self) -> list[str]:
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", *self._ports]
        no_more = [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
        ]
        return [
            str(_PROGRAMS / "weed"),
            "server",
            "-dir=data",
            "-volume.max=20",
            "-s3.config=s3.json",
            *here,
            "-s3",
            f"-s3.port={self.port}",
            *no_more,
        ]


class Moto(ObjectStore):
    """moto's server: it has all in its memory, and none of it after its end."""

    def command(self) -> list[str]:
        return [str(_PROGRAMS / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]


def records(objects: dict[str, bytes]) -> list[dict[str, Any]]:
    """Every line of every object of lines, in order."""
    lines = [
        line
        for path, body in objects.items()
        if path.endswith(".jsonl.zst")
        for line in zstd.decompress(body).splitlines()
    ]
    return [msgspec.json.decode(line) for line in lines]
