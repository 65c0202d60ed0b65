"""What every sink promises (edgeagent/upstream/__init__.py), held against the real thing at its far end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import msgspec
import pytest
from mosquitto import Broker, Listener, Mosquitto, Nats, ids
from relay import Relay
from stores import ACCESS_KEY, BUCKET, SECRET_KEY, Moto, ObjectStore, Seaweed, records

from edgeagent.collector.dataset import lines
from edgeagent.collector.server import Server
from edgeagent.collector.store import Store
from edgeagent.config import parts
from edgeagent.config.secrets import Secret
from edgeagent.errors import UpstreamFault
from edgeagent.packing import compress
from edgeagent.upstream import Result, Sink, directory, http, mqtt, s3
from edgeagent.upstream.broker import Version
from edgeagent.upstream.codec import decode_batch, decode_record, encode_batch


class FarEnd(Protocol):
    """One kind of receiver: something to build a sink for, and to look into."""

    def sink(self) -> Sink: ...

    def stored(self) -> list[str]:
        """The ids that are durable there; one for each copy that a reader would count."""
        ...

    def weighs(self, *batches: Mapping[str, bytes]) -> int:
        """How many bytes these batches are on their way, if nothing else was sent."""
        ...

    def go_away(self) -> None: ...

    def come_back(self) -> None: ...

    def close(self) -> None: ...


class HttpEnd:
    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder / "dataset", 0
        self.come_back()
        self._port = int(self._server.server_address[1])

    def sink(self) -> Sink:
        return http.build("fleet", http.Options(url=f"http://127.0.0.1:{self._port}"), "press-07")

    def stored(self) -> list[str]:
        return [entry["id"] for entry in lines(self._folder)]

    def weighs(self, *batches: Mapping[str, bytes]) -> int:
        """The first goes plain: only its answer says that zstd is taken."""
        first, *others = batches
        bodies = [encode_batch(list(batch.values())) for batch in others]
        coded = [min(body, compress(body), key=len) for body in bodies]
        return msgpack_bytes([first]) + sum(map(len, coded))

    def go_away(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def come_back(self) -> None:
        self._server = Server(Store(self._folder), "127.0.0.1", self._port)
        Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True).start()

    def close(self) -> None:
        self.go_away()


class DirectoryEnd:
    def __init__(self, folder: Path) -> None:
        self._stick = folder / "stick"
        self._stick.mkdir()

    def sink(self) -> Sink:
        return directory.build("stick", directory.Options(path=self._stick), "press-07")

    def stored(self) -> list[str]:
        """Across files the id tells a copy; within one it must not come twice."""
        files = {file.name: decode_batch(file.read_bytes()) for file in self._stick.glob("*.msgpack")}
        ids = {name: [decode_record(payload).id for payload in batch] for name, batch in files.items()}
        assert all(len(set(batch)) == len(batch) for batch in ids.values())
        return sorted({record_id for batch in ids.values() for record_id in batch})

    def weighs(self, *batches: Mapping[str, bytes]) -> int:
        return msgpack_bytes(batches)

    def go_away(self) -> None:
        self._stick.rename(self._stick.with_name("pulled"))

    def come_back(self) -> None:
        self._stick.with_name("pulled").rename(self._stick)

    def close(self) -> None:
        """It is the test's own folder."""


class MqttEnd:
    """A broker, and a reader who counts an id once."""

    def __init__(self, broker: Broker, version: Version) -> None:
        self._broker, self._version = broker, version
        self._reader = Listener(self._broker, "edge/#")

    def sink(self) -> Sink:
        options = mqtt.Options(url=self._broker.url, message="batch", version=self._version)
        return mqtt.build("plant", options, "press-07")

    def stored(self) -> list[str]:
        return ids(self._reader.heard())

    def weighs(self, *batches: Mapping[str, bytes]) -> int:
        return msgpack_bytes(batches)

    def go_away(self) -> None:
        self._broker.kill()
        self._reader.outlive()

    def come_back(self) -> None:
        self._broker.start()
        self._reader.join()

    def close(self) -> None:
        self._reader.leave()
        self._broker.kill()


class S3End:
    """A folder of its own in a store that the tests share; a reader of it counts every line."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self._relay = store, Relay(store.port)
        self._prefix = f"fleet-{next(_numbers)}"

    def sink(self) -> Sink:
        options = s3.Options(
            bucket=BUCKET,
            prefix=self._prefix,
            endpoint=self._relay.url,
            access_key=Secret("clear", ACCESS_KEY),
            secret_key=Secret("clear", SECRET_KEY),
        )
        return s3.build("lake", options, "press-07")

    def stored(self) -> list[str]:
        return [record["id"] for record in records(self._store.objects(self._prefix))]

    def weighs(self, *batches: Mapping[str, bytes]) -> int:
        return sum(len(body) for body in self._store.objects(self._prefix).values())

    def go_away(self) -> None:
        self._relay.refuse()

    def come_back(self) -> None:
        self._relay.admit()

    def close(self) -> None:
        """The store stays for the next test."""
        self._relay.refuse()


_numbers = count(1)
_stores: dict[type[ObjectStore], ObjectStore] = {}


def shared(kind: type[ObjectStore], folders: Callable[[str], Path]) -> ObjectStore:
    """Up since the first test that needed it: a store takes seconds to start."""
    if kind not in _stores:
        _stores[kind] = kind(folders(kind.__name__.lower()))
    return _stores[kind]


@pytest.fixture(scope="module", autouse=True)
def _stores_end() -> Iterator[None]:
    yield
    while _stores:
        _stores.popitem()[1].kill()


FAR_ENDS: dict[str, Callable[[pytest.TempPathFactory], FarEnd]] = {
    "http to the collector": lambda folders: HttpEnd(folders.mktemp("collector")),
    "directory": lambda folders: DirectoryEnd(folders.mktemp("directory")),
    "mqtt to mosquitto": lambda folders: MqttEnd(Mosquitto(folders.mktemp("mosquitto")), "5"),
    "mqtt to nats-server": lambda folders: MqttEnd(Nats(folders.mktemp("nats")), "3.1.1"),
    "s3 to seaweedfs": lambda folders: S3End(shared(Seaweed, folders.mktemp)),
    "s3 to moto": lambda folders: S3End(shared(Moto, folders.mktemp)),
}


@pytest.fixture(params=sorted(FAR_ENDS))
def far_end(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, against: Callable[[str], None]
) -> Iterator[FarEnd]:
    against(request.param)
    end = FAR_ENDS[request.param](tmp_path_factory)
    yield end
    end.close()


def batch(*seqs: int, **body: Any) -> dict[str, bytes]:
    def record(record_id: str) -> bytes:
        return msgspec.msgpack.encode(
            {
                "id": record_id,
                "kind": "event",
                "run": "0123456789ab",
                "boot_id": "boot",
                "mono_ns": 1,
                "time": "2026-11-22T10:00:00.000000Z",
                "clock": "synced",
                "priority": 4,
                "schema": 1,
                "body": {"type": "mark"} | body,
            }
        )

    ids = [f"press-07/0123456789ab/{seq}" for seq in seqs]
    return {record_id: record(record_id) for record_id in ids}


def msgpack_bytes(batches: Sequence[Mapping[str, bytes]]) -> int:
    """As MessagePack arrays, each of less than 16."""
    return sum(1 + sum(len(record) for record in batch.values()) for batch in batches)


def test_every_sink_has_a_far_end_here() -> None:
    assert {name.split()[0] for name in FAR_ENDS} == parts._own("upstream")


def test_what_is_accepted_is_there(far_end: FarEnd) -> None:
    sink = far_end.sink()
    assert sink.send(batch(1, 2, 3)).accepted == set(batch(1, 2, 3))
    assert far_end.stored() == list(batch(1, 2, 3))
    sink.close()


def test_a_batch_sent_twice_is_accepted_twice_and_stored_once(far_end: FarEnd) -> None:
    for sink in (far_end.sink(), far_end.sink()):
        for _ in range(2):
            assert sink.send(batch(1, 2)).accepted == set(batch(1, 2))
        sink.close()
    assert far_end.stored() == list(batch(1, 2))


def test_batches_that_overlap_are_stored_once(far_end: FarEnd) -> None:
    sink = far_end.sink()
    for seqs in ((1, 2, 3), (3, 4), (5, 2), (1,)):
        assert sink.send(batch(*seqs)).accepted == set(batch(*seqs))
    sink.close()
    if isinstance(
        far_end, DirectoryEnd
    ):  # the shorter batch has taken the place of the first: 2 and 3 came again
        assert far_end.stored() == list(batch(1, 2, 3, 4, 5))
    assert sorted(far_end.stored()) == list(batch(1, 2, 3, 4, 5))


def test_a_record_of_100_megabytes_is_taken_or_refused_with_its_size_and_holds_up_no_other(
    far_end: FarEnd,
) -> None:
    sink = far_end.sink()
    waiting = batch(1, data=bytes(100_000_000)) | batch(2, 3)
    accepted, rejected = set[str](), dict[str, str]()
    while waiting:  # as the sender does: what is in neither comes again
        result = sink.send(waiting)
        accepted |= result.accepted
        rejected |= result.rejected
        waiting = {i: p for i, p in waiting.items() if i not in accepted and i not in rejected}
    sink.close()
    assert sorted(far_end.stored()) == sorted(accepted)
    assert accepted >= set(batch(2, 3))
    assert all(re.search("too large .*100000...", why) for why in rejected.values()), rejected


def test_while_the_far_end_is_away_a_send_is_a_fault_and_works_again_after(far_end: FarEnd) -> None:
    sink = far_end.sink()
    sink.send(batch(1))
    far_end.go_away()
    for _ in range(3):
        with pytest.raises(UpstreamFault) as caught:
            sink.send(batch(2))
        assert caught.value.where
        assert caught.value.hint
    far_end.come_back()
    assert sink.send(batch(2)).accepted == set(batch(2))
    assert far_end.stored() == list(batch(1, 2))
    sink.close()


def test_an_empty_batch_asks_whether_the_far_end_is_there_and_leaves_nothing(far_end: FarEnd) -> None:
    sink = far_end.sink()
    assert sink.send({}) == Result()
    far_end.go_away()
    for _ in range(2):
        with pytest.raises(UpstreamFault):
            sink.send({})
    far_end.come_back()
    assert sink.send({}) == Result()
    assert sink.bytes_sent < 10
    assert far_end.stored() == []
    sink.close()


def test_bytes_sent_counts_the_batches(far_end: FarEnd) -> None:
    sink = far_end.sink()
    assert sink.bytes_sent == 0
    sink.send(batch(1))
    assert sink.bytes_sent == far_end.weighs(batch(1)) > 0
    sink.send(batch(2, 3))
    assert sink.bytes_sent == far_end.weighs(batch(1), batch(2, 3))
    sink.close()


def test_idle_is_quiet_while_the_far_end_is_there(far_end: FarEnd) -> None:
    sink = far_end.sink()
    for _ in range(3):
        sink.idle()
    assert sink.send(batch(1)).accepted == set(batch(1))
    sink.idle()
    assert far_end.stored() == list(batch(1))
    sink.close()


def test_close_may_be_called_twice_and_before_anything_was_sent(far_end: FarEnd) -> None:
    sink = far_end.sink()
    sink.close()
    sink.close()
