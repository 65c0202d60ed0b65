"""The S3 sink on a real SeaweedFS: what lies in the bucket, and that it lies there once; what is said in trouble."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np
import pytest
from patient import deliver
from relay import Relay
from scripted import CERTIFICATES, answer, cut, hang, scripted
from stores import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectStore, Seaweed, records

from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.records import Channel, Kind, encode_raw, picture_raw
from edgeagent.upstream import s3
from edgeagent.upstream.s3 import S3, Options

RUN = "0123456789ab"
KEYS: dict[str, Any] = {
    "access_key": Secret("clear", ACCESS_KEY),
    "secret_key": Secret("clear", SECRET_KEY),
}


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    store = Seaweed(tmp_path_factory.mktemp("seaweed"))
    yield store
    store.kill()


_numbers = count(1)


class Lake:
    """A folder of the store for one test, and the way to it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self.prefix = store, f"test-{next(_numbers)}"
        self.way = Relay(store.port)

    def sink(self, *, direct: bool = False, **changes: Any) -> S3:
        """As a new process would have it. `direct` goes around the relay."""
        url = self._store.url if direct else self.way.url
        options = Options(bucket=BUCKET, endpoint=url, prefix=self.prefix, **KEYS, **changes)
        return s3.build("lake", options, "press-07")

    def objects(self) -> dict[str, bytes]:
        """By their names in the test's folder."""
        found = self._store.objects(self.prefix)
        return {path.removeprefix(f"{self.prefix}/"): body for path, body in found.items()}

    def ids(self) -> list[str]:
        """Of every line of every object: one that is there twice comes twice."""
        return [record["id"] for record in records(self.objects())]


@pytest.fixture
def lake(seaweed: ObjectStore) -> Iterator[Lake]:
    lake = Lake(seaweed)
    yield lake
    lake.way.refuse()


def record(
    seq: int, kind: Kind = "event", time: str | None = "2026-11-22T10:00:00Z", **changes: Any
) -> bytes:
    clock = "synced" if time else "unsynced"
    fields = {
        "id": f"press-07/{RUN}/{seq}",
        "kind": kind,
        "run": RUN,
        "boot_id": "b7",
        "mono_ns": seq,
        "time": time,
        "clock": clock,
        "priority": 4,
        "body": {"n": seq},
        "schema": 1,
    }
    return msgspec.msgpack.encode(fields | changes)


def batch(*payloads: bytes) -> dict[str, bytes]:
    return {msgspec.msgpack.decode(payload)["id"]: payload for payload in payloads}


def events(*seqs: int) -> dict[str, bytes]:
    return batch(*map(record, seqs))


def ids(*seqs: int) -> list[str]:
    return [f"press-07/{RUN}/{seq}" for seq in seqs]


# --- what lies in the bucket --------------------------------------------------------------------------


def test_records_are_lines_in_objects_by_device_date_kind_and_run(lake: Lake) -> None:
    sink = lake.sink()
    sent = [record(1), record(2, time="2026-11-23T00:00:00Z"), record(3, "health"), record(4, time=None)]
    assert sink.send(batch(*sent)).accepted == set(ids(1, 2, 3, 4))
    sink.send(events(4097))
    assert list(lake.objects()) == [
        f"device=press-07/date=2026-11-22/kind=event/{RUN}-0/0000.jsonl.zst",
        f"device=press-07/date=2026-11-22/kind=event/{RUN}-1/0000.jsonl.zst",
        f"device=press-07/date=2026-11-22/kind=health/{RUN}-0/0000.jsonl.zst",
        f"device=press-07/date=2026-11-23/kind=event/{RUN}-0/0000.jsonl.zst",
        f"device=press-07/date=undated/kind=event/{RUN}-0/0000.jsonl.zst",
    ]
    lines = {line["id"]: line for line in records(lake.objects())}
    assert [lines[i] for i in ids(1, 2, 3, 4)] == [msgspec.msgpack.decode(payload) for payload in sent]


def test_a_device_of_any_name_stays_in_its_folder(lake: Lake) -> None:
    sink = lake.sink()
    for name in ("press ä%.7", ".."):
        assert sink.send(batch(record(1, id=f"{name}/{RUN}/1"))).accepted
        assert sink.send(batch(record(1, id=f"{name}/{RUN}/1"))).accepted
    assert [path.split("/")[0] for path in lake.objects()] == ["device=..", "device=press%20%C3%A4%25.7"]


def test_samples_are_webdataset_shards_of_json_and_arrays(lake: Lake) -> None:
    counts = np.random.default_rng(7).integers(-4096, 4096, (500, 2)).astype(np.float64)
    channels = (Channel("x", "m/s2", 9.80665 / 4096), Channel("y", "m/s2", 0.5))
    values = (counts * [c.lsb for c in channels]).astype(np.float32)
    raw = msgspec.structs.asdict(encode_raw(values, channels))
    body = {"sensor": "imu", "rate_hz": 50.0, "channels": list(msgspec.to_builtins(channels)), **raw}
    torn = body | {"data": raw["data"][:-9]}
    picture = {"sensor": "cam", **msgspec.structs.asdict(picture_raw(b"\xff\xd8\xff\xe0 a picture"))}
    sent = batch(
        record(1, "sample", body=body, id=f"press.07/{RUN}/1"),
        record(2, "sample", body=torn, id=f"press.07/{RUN}/2"),
        record(3, "sample", body=picture, id=f"press.07/{RUN}/3"),
    )
    result = lake.sink().send(sent)
    assert result.rejected.keys() == {f"press.07/{RUN}/2"}
    ((path, shard),) = lake.objects().items()
    assert path == f"device=press.07/date=2026-11-22/kind=sample/{RUN}-0/0000.tar.gz"
    samples = webdataset(shard)
    assert {name: set(files) for name, files in samples.items()} == {
        f"press%2E07,{RUN},1": {"json", "npy"},
        f"press%2E07,{RUN},3": {"json", "jpg"},
    }
    files = samples[f"press%2E07,{RUN},1"]
    about, array = json.loads(files["json"]), np.load(io.BytesIO(files["npy"]))
    assert array.shape == (500, 2)
    assert array.dtype == np.int16
    lsb = [channel["lsb"] for channel in about["body"]["channels"]]
    assert np.array_equal((array * lsb).astype(np.float32), values)
    assert about["body"] == {k: v for k, v in body.items() if k not in ("data", "packing")}
    assert samples[f"press%2E07,{RUN},3"]["jpg"] == b"\xff\xd8\xff\xe0 a picture"


def webdataset(shard: bytes) -> dict[str, dict[str, bytes]]:
    """As its readers group a shard: what stands before a name's first dot is the sample's, the rest the file's."""
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(shard), mode="r|*") as tar:
        for member in tar:
            name, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            samples.setdefault(name, {})[suffix] = file.read()
    return samples


# --- each record once ---------------------------------------------------------------------------------


def test_a_batch_cut_differently_after_a_crash_doubles_nothing(lake: Lake) -> None:
    lake.sink().send(events(1, 2, 3, 4, 5))
    assert lake.sink().send(events(9, 3, 4, 5, 6)).accepted == set(ids(9, 3, 4, 5, 6))
    assert lake.sink().send(events(2, 9, 7)).accepted == set(ids(2, 9, 7))
    assert lake.ids() == ids(1, 2, 3, 4, 5, 9, 6, 7)


def test_an_answer_lost_after_the_store_doubles_nothing_however_the_batch_is_cut_then(lake: Lake) -> None:
    sink = lake.sink(timeout=2)
    deliver(sink, events(1))
    lake.way.answers.clear()
    with pytest.raises(UpstreamFault, match="no answer in time"):
        sink.send(events(2, 3))
    lake.way.answers.set()
    assert deliver(sink, events(8, 3, 4)) == set(ids(8, 3, 4))
    assert deliver(sink, events(2)) == set(ids(2))
    assert lake.ids() == ids(1, 2, 3, 8, 4)


def test_a_request_that_arrives_long_after_its_sender_has_died_stores_nothing_twice(lake: Lake) -> None:
    """What a kernel has taken over it sends, whatever has become of the process."""
    lake.way.asks.clear()
    while not lake.way.holds.is_set():
        with pytest.raises(UpstreamFault):
            lake.sink(timeout=0.5).send(events(1, 2, 3))
    assert lake.ids() == []
    later = lake.sink(direct=True)
    assert later.send(events(2, 3, 4)).accepted == set(ids(2, 3, 4))
    lake.way.answers.clear()
    lake.way.holds.clear()
    lake.way.asks.set()
    assert lake.way.holds.wait(60), "the store has answered it"
    assert later.send(events(1)).accepted == set(ids(1))
    assert sorted(lake.ids()) == ids(1, 2, 3, 4)


def test_a_record_whose_day_came_later_is_not_put_again_under_its_day(lake: Lake) -> None:
    undated = [record(seq, time=None) for seq in (1, 2, 3)]
    dated = [record(seq, clock="corrected") for seq in (2, 3, 4)]
    lake.sink().send(batch(*undated))
    assert lake.sink().send(batch(*dated)).accepted == set(ids(2, 3, 4))
    assert sorted(lake.ids()) == ids(1, 2, 3, 4)
    assert len(lake.objects()) == 3, "one of them without records: whatever is late finds its name taken"


def test_nor_if_the_answer_to_the_first_put_was_lost(lake: Lake) -> None:
    sink = lake.sink(timeout=2)
    deliver(sink, batch(record(1, clock="corrected")))
    lake.way.answers.clear()
    with pytest.raises(UpstreamFault):
        sink.send(batch(record(2, time=None)))
    lake.way.answers.set()
    assert deliver(sink, batch(record(2, clock="corrected"))) == set(ids(2))
    assert sorted(lake.ids()) == ids(1, 2)


def test_nor_if_the_first_put_arrives_only_after_its_sender_has_died_and_the_day_is_known(lake: Lake) -> None:
    lake.way.asks.clear()
    with pytest.raises(UpstreamFault):
        lake.sink(timeout=0.5).send(batch(record(1, time=None), record(2, time=None)))
    assert lake.way.holds.wait(60)
    assert lake.ids() == []
    later = lake.sink(direct=True)
    assert later.send(batch(record(1, clock="corrected"))).accepted == set(ids(1))
    lake.way.answers.clear()
    lake.way.holds.clear()
    lake.way.asks.set()
    assert lake.way.holds.wait(60), "the store has answered it"
    assert later.send(batch(record(2, clock="corrected"))).accepted == set(ids(2))
    assert lake.ids() == ids(1, 2)


def test_what_is_known_of_the_store_is_bounded_and_forgetting_it_doubles_nothing(lake: Lake) -> None:
    sink = lake.sink()
    wide = events(*range(1, 70 * 4096, 4096))
    for _ in range(2):
        assert sink.send(wide).accepted == wide.keys()
    assert len(sink._folders) == s3._MOST_FOLDERS
    assert len(lake.ids()) == len(set(lake.ids())) == 70


def test_a_storm_of_lost_answers_late_requests_and_new_processes_stores_each_record_once(
    lake: Lake, tell: Callable[[str], None]
) -> None:
    """Batches of 40 records, drawn anew each time out of what was not settled; half of the sends go wrong."""
    dice = random.Random(6)
    waiting = set(range(1, 201))
    sink = lake.sink(timeout=0.5)
    wrongs = 0
    while waiting:
        chosen = dice.sample(sorted(waiting), min(40, len(waiting)))
        gate = dice.choice([lake.way.asks, lake.way.answers, None, None])
        if gate:
            gate.clear()
        try:
            result = sink.send(events(*chosen))
        except UpstreamFault:
            wrongs += 1
            sink = lake.sink(timeout=0.5)
        else:
            waiting -= {int(i.split("/")[2]) for i in result.accepted if dice.random() < 0.5}
        if gate:
            gate.set()
    assert sorted(lake.ids()) == sorted(ids(*range(1, 201)))
    tell(f"a storm over a bucket: {wrongs} sends went wrong, {len(lake.objects())} objects, each record once")


# --- a store that is away, refuses, hangs, lies -------------------------------------------------------


def trouble(url: str, **changes: Any) -> str:
    """What a send that must fail says; neither key may be in it."""
    options = Options(bucket=BUCKET, endpoint=url, **{**KEYS, **changes})
    sink = s3.build("lake", options, "press-07")
    with pytest.raises(UpstreamFault) as caught:
        sink.send(events(1))
    said = str(caught.value)
    assert f"{url}, bucket fleet" in said
    assert not any(key in said + repr(caught.value) + repr(sink) for key in (ACCESS_KEY, SECRET_KEY))
    return said


def error(code: str) -> bytes:
    """As S3 tells its errors; some name the caller's access key."""
    return f"<Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "BadRequest", "cannot read our request (400 BadRequest). Check `region`"),
        (401, "", "does not let us in (401). Check `access_key`"),
        (403, "SignatureDoesNotMatch", "does not let us in (403 SignatureDoesNotMatch). Check the keys"),
        (
            403,
            "RequestTimeTooSkewed",
            "finds our time wrong (403 RequestTimeTooSkewed). Check the device's clock",
        ),
        (404, "NoSuchBucket", "there is no such bucket (404 NoSuchBucket). Make it there"),
        (409, "ConditionalRequestConflict", "It is tried again; nothing is lost"),
        (429, "", "overloaded (429)"),
        (500, "InternalError", "it fails (500 InternalError). It is tried again"),
        (501, "NotImplemented", "cannot put an object only if its name is free"),
        (503, "SlowDown", "overloaded (503 SlowDown)"),
        (418, "", "it refuses (418)"),
        (301, "PermanentRedirect", "sends us elsewhere. Check `region` and `endpoint`"),
        (307, "", "sends us elsewhere"),
    ],
)
def test_a_refusal_says_what_to_do_and_keeps_all(status: int, code: str, words: str) -> None:
    empty_list = answer(200, b"<ListBucketResult></ListBucketResult>")
    with scripted(answer(status, error(code), "Connection: close"), empty_list) as store:
        assert words in trouble(store.url)


@pytest.mark.parametrize(
    ("status", "code", "at_least_s"), [(503, "SlowDown", 15), (429, "", 15), (500, "InternalError", 0)]
)
def test_a_store_that_says_it_is_overloaded_is_left_alone_for_a_while_and_asked_once(
    status: int, code: str, at_least_s: float
) -> None:
    """Its Retry-After is not to be had from obstore, which would ask again after a tenth of a second."""
    with scripted(answer(status, error(code), "Retry-After: 7", "Connection: close")) as store:
        sink = s3.build("lake", Options(bucket=BUCKET, endpoint=store.url, **KEYS), "press-07")
        with pytest.raises(UpstreamFault) as caught:
            sink.send(events(1))
        assert len(store.requests) == 1
    assert caught.value.retry_after_s == at_least_s


def test_a_wrong_key_is_told(seaweed: ObjectStore) -> None:
    wrong = Secret("clear", "wrong-horse")
    words = trouble(seaweed.url, secret_key=wrong)
    assert "does not let us in (403 SignatureDoesNotMatch). Check the keys" in words
    assert "does not let us in (403 InvalidAccessKeyId)" in trouble(seaweed.url, access_key=wrong)


def test_a_bucket_that_is_not_there_is_told(seaweed: ObjectStore) -> None:
    sink = s3.build("lake", Options(bucket="absent", endpoint=seaweed.url, **KEYS), "press-07")
    with pytest.raises(UpstreamFault, match="no such bucket"):
        sink.send(events(1))


def test_a_store_that_hangs_is_given_up_after_the_timeout() -> None:
    over = Event()
    with scripted(hang(over)) as store:
        assert "no answer in time" in trouble(store.url, timeout=0.2)
        over.set()


def test_a_refused_connection_a_cut_one_and_an_unknown_name_are_told() -> None:
    with scripted(cut) as store:
        assert "the connection was cut. It is tried again" in trouble(store.url)
    assert "no connection (Connection refused)" in trouble(store.url)
    assert "the name is not known" in trouble("http://store.invalid")


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b""])
def test_a_200_that_is_no_answer_of_a_store_keeps_all(body: bytes) -> None:
    with scripted(answer(200, body)) as store:
        assert "the answer is not one of an S3 store" in trouble(store.url)


def test_a_cut_in_the_middle_of_the_answer_keeps_all() -> None:
    with scripted(answer(200, b"", length=100)) as store:
        assert "Check `endpoint`" in trouble(store.url)


def test_an_object_that_no_agent_has_put_is_not_taken_for_ours(seaweed: ObjectStore) -> None:
    lake = Lake(seaweed)
    path = f"{lake.prefix}/device=press-07/date=2026-11-22/kind=event/{RUN}-0/0000.jsonl.zst"
    seaweed.put(path, b"somebody else's")
    with pytest.raises(UpstreamFault, match="was not put by an agent"):
        lake.sink().send(events(1))
    lake.way.refuse()


def test_a_batch_too_large_for_what_stands_before_the_store_goes_by_halves_and_a_record_is_refused() -> None:
    fine = answer(200, b"", 'ETag: "x"')
    with scripted(answer(413), answer(413), fine) as store:
        sink = s3.build("lake", Options(bucket=BUCKET, endpoint=store.url, **KEYS), "press-07")
        result = sink.send(events(1, 2, 3))
    assert result.accepted == set(ids(2, 3))
    assert result.rejected == {ids(1)[0]: "it takes no object so large (413)"}


def test_what_is_no_record_is_refused_and_the_rest_arrives(lake: Lake) -> None:
    result = lake.sink().send(events(1) | {"torn": record(2)[:-3], "odd": record(3, id="odd")})
    assert result.accepted == set(ids(1))
    assert result.rejected.keys() == {"torn", "odd"}
    assert lake.ids() == ids(1)


def test_what_was_stored_before_the_store_went_away_stays_accepted() -> None:
    with scripted(answer(200, b"", 'ETag: "x"'), cut) as store:
        sink = s3.build("lake", Options(bucket=BUCKET, endpoint=store.url, **KEYS), "press-07")
        result = sink.send(batch(record(1), record(2, "health")))
    assert result.accepted == set(ids(1))
    assert "the connection was cut" in str(result.fault)


# --- TLS and the config -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired", "TLS fails (Expired). Check the device's clock first"),
        ("not-yet-valid", "TLS fails (NotValidYet). Check the device's clock first"),
        ("other-host", "TLS fails (NotValidForName). The certificate is another host's"),
    ],
)
def test_a_certificate_that_does_not_hold_says_why(certificate: str, words: str) -> None:
    with scripted(answer(200), tls=CERTIFICATES / f"{certificate}.pem") as store:
        assert words in trouble(store.url, ca=CERTIFICATES / "authority.pem")
        assert store.requests == []


def test_tls_is_trusted_with_the_right_certificate_only() -> None:
    with scripted(answer(200, b"", 'ETag: "x"'), tls=CERTIFICATES / "good.pem") as store:
        assert "TLS fails (UnknownIssuer). Nobody whom we trust has signed it: check `ca`" in trouble(
            store.url
        )
        options = Options(bucket=BUCKET, endpoint=store.url, ca=CERTIFICATES / "authority.pem", **KEYS)
        assert s3.build("lake", options, "press-07").send(events(1)).accepted == set(ids(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bucket": "Fleet Data"}, "not a bucket's name"),
        ({"endpoint": "store.example.com"}, "not a URL"),
        ({"endpoint": "https://me:secret@x"}, "more than a store's address"),
        ({"endpoint": "https://store.example.com/fleet"}, "The bucket belongs under `bucket:`"),
        ({"access_key": Secret("clear", "secret")}, "one without the other"),
        ({"endpoint": "https://x:99999"}, "not a URL"),
        ({"endpoint": "https://ключ.example"}, "not a URL"),
        ({"endpoint": "https://x y"}, "not a URL"),
        ({"endpoint": "https://[::1"}, "not a URL"),
        ({"region": "eu west"}, "region: not a region"),
        ({"prefix": "a//b"}, "prefix: not a folder"),
        ({"prefix": "../b"}, "prefix: not a folder"),
        ({"prefix": "a\nb"}, "prefix: not a folder"),
    ],
)
def test_options_that_cannot_be_used_are_config_faults(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        Options(**{"bucket": "fleet", **options})
    assert words in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_file_of_certificates_that_is_none_is_a_config_fault(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for ca in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigFault) as caught:
            s3.build("lake", Options(bucket="fleet", ca=ca), "press-07")
        assert "certificates" in str(caught.value)
        assert ca.name in str(caught.value)


def test_clear_text_beyond_this_machine_earns_a_warning() -> None:
    (clear,) = s3.advise(Options(bucket="fleet", endpoint="http://10.0.0.5:9000"))
    assert "sends all records in clear" in clear.text
    for fine in ("https://s3.example.com", "http://127.0.0.1:9000", "http://localhost", ""):
        assert list(s3.advise(Options(bucket="fleet", endpoint=fine))) == []


def test_the_keys_are_in_no_repr() -> None:
    options = Options(bucket="fleet", **KEYS)
    sink = s3.build("lake", options, "press-07")
    assert not any(key in repr(options) + repr(sink) for key in (ACCESS_KEY, SECRET_KEY))
