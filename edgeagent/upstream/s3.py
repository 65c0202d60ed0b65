"""Records into a bucket of an S3-compatible store: `lake: {s3: {bucket: fleet, access_key: ..., secret_key: ...}}`.

    device=press-07/date=2026-11-22/kind=event/0123456789ab-0/0000.jsonl.zst

One day's events of one run, of its sequence numbers 0 to 4095, the first object. The objects of such a folder are
numbered without a gap, and each is put only if its name is free; each carries, as metadata, which sequence numbers
are in the folder with it. So whoever finds a name taken can see what is there already, and leaves it out: nothing
comes twice, however a batch is cut after a crash (docs/decisions: one object a name, once).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, urlsplit

import msgspec

from edgeagent.config.quantities import FilePath, Seconds
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.upstream import Advice, Name, Result
from edgeagent.upstream.bucket import Bucket, TooLarge
from edgeagent.upstream.shards import UNDATED, Entry, Place, entry, pack, suffix
from edgeagent.upstream.tls import address, is_loopback

_MOST_FOLDERS = 64  # remembered; about another one the store is asked
_REGION = re.compile(r"[A-Za-z0-9-]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bucket is, and who we are there.

    endpoint: Of a store that is not Amazon's; the bucket is named in the path.
    prefix: A folder in the bucket, for several fleets in one.
    access_key, secret_key: Without them requests are not signed.
    timeout: For the store to answer; a larger object gets as much longer as 20 kB/s needs.
    """

    bucket: str
    endpoint: str = ""
    region: str = "us-east-1"
    prefix: str = ""
    access_key: Secret | None = None
    secret_key: Secret | None = None
    ca: FilePath | None = None
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            expected = "3 to 63 small letters, digits, dots and hyphens"
            raise ConfigFault("not a bucket's name", where=f"bucket: {self.bucket!r}", expected=expected)
        if self.endpoint:
            _check_endpoint(self.endpoint)
        if not _REGION.fullmatch(self.region):
            raise ConfigFault("not a region", where="region", expected="its name, such as us-east-1")
        if self.prefix and not all(map(_is_folder, self.prefix.strip("/").split("/"))):
            raise ConfigFault("not a folder", where="prefix", expected="names, with / between them")
        if bool(self.access_key) != bool(self.secret_key):
            raise ConfigFault("one without the other", expected="`access_key` and `secret_key`, or neither")


def advise(options: Options) -> Iterator[Advice]:
    """Warns of what anybody on the network could read."""
    parts = urlsplit(options.endpoint)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield Advice("endpoint", "http:// sends all records in clear; use https://")


def build(name: str, options: Options, device: str) -> S3:
    """A sink for one bucket. Raises ConfigFault if a secret or the certificates cannot be read."""
    del name, device
    return S3(options)


class _Folder:
    """What is known of one folder: which of its block's records are there, a bit each, and which object comes next."""

    def __init__(self, path: str) -> None:
        self.path, self.held, self.next = path, 0, 0
        self.sure = False
        """Whether the last object is ours, so that nothing that we do not know of is there or can still arrive."""

    def learn(self, number: int, held: int, *, sure: bool) -> None:
        self.held, self.next, self.sure = held, number + 1, sure


_NO_FOLDER = "edgeagent-was-here"  # never put: to list it is a question that any store answers at once


class S3:
    """Puts objects into one bucket, one after the other."""

    def __init__(self, options: Options) -> None:
        self.bytes_sent = 0
        self._bucket = Bucket(
            options.bucket,
            options.endpoint,
            options.region,
            keys=_keys(options),
            ca=options.ca,
            timeout_s=options.timeout,
        )
        self._prefix = options.prefix.strip("/")
        self._folders: OrderedDict[Place, _Folder] = OrderedDict()

    def send(self, batch: Mapping[Name, bytes]) -> Result:
        """As the contract says: an object for each folder that the batch's records belong to."""
        if not batch:
            self._bucket.last(_NO_FOLDER)
        places, rejected = _sorted(batch)
        accepted: set[Name] = set()
        for place, entries in places.items():
            try:
                refused = self._store(place, entries)
            except UpstreamFault as fault:
                if not accepted and not rejected:
                    raise
                return Result(frozenset(accepted), rejected, fault)
            accepted.update(one.name for one in entries if one.name not in refused)
            rejected |= refused
        return Result(frozenset(accepted), rejected)

    def idle(self) -> None:
        """Nothing has to be kept alive."""

    def close(self) -> None:
        self._bucket.close()

    def _store(self, place: Place, entries: Sequence[Entry]) -> dict[Name, str]:
        """Return when all of them are in the bucket, each once, but for those that it refuses. Raises UpstreamFault."""
        folder = self._folder(place)
        elsewhere = self._undated(place, entries)
        while fresh := [one for one in entries if not (folder.held | elsewhere) >> one.number & 1]:
            try:
                self._put(folder, place.kind, fresh)
            except TooLarge as fault:
                if len(fresh) == 1:
                    return {fresh[0].name: fault.what}
                half = len(fresh) // 2
                return self._store(place, fresh[:half]) | self._store(place, fresh[half:])
        return {}

    def _put(self, folder: _Folder, kind: str, entries: Sequence[Entry]) -> None:
        """Make the folder's next object; where it is there already, learn what is in it."""
        path = f"{folder.path}/{folder.next:04}.{suffix(kind)}"
        held = folder.held | sum(1 << one.number for one in entries)
        body = pack(kind, entries)
        self.bytes_sent += len(body)
        folder.sure = False
        if self._bucket.put(path, body, held):
            folder.learn(folder.next, held, sure=True)
        elif not self._look(folder):
            raise self._bucket.fault(f"it is at odds with itself about {path}")

    def _undated(self, place: Place, entries: Sequence[Entry]) -> int:
        """Which of the block's records were put before their day was known.

        An object without records takes the name that a request needs which may still be on its way there.
        """
        if not any(one.day_came_later for one in entries):
            return 0
        folder = self._folder(place._replace(date=UNDATED))
        while not folder.sure:
            self._put(folder, place.kind, ())
        return folder.held

    def _look(self, folder: _Folder) -> bool:
        """Learn from the store what is in a folder; whether there is more than we knew."""
        known = folder.next
        if last := self._bucket.last(folder.path):
            folder.learn(*last, sure=False)
        return folder.next > known

    def _folder(self, place: Place) -> _Folder:
        if place not in self._folders:
            self._folders[place] = _Folder(_path(self._prefix, place))
        self._folders.move_to_end(place)
        if len(self._folders) > _MOST_FOLDERS:
            self._folders.popitem(last=False)
        return self._folders[place]


def _sorted(batch: Mapping[Name, bytes]) -> tuple[dict[Place, list[Entry]], dict[Name, str]]:
    """The records by their places, and why some have none."""
    places: dict[Place, list[Entry]] = {}
    rejected: dict[Name, str] = {}
    for name, payload in batch.items():
        try:
            one = entry(name, payload)
        except ValueError as e:
            rejected[name] = f"cannot be read: {e}"
        else:
            places.setdefault(one.place, []).append(one)
    return places, rejected


def _path(prefix: str, place: Place) -> str:
    device, date, kind, run, block = place
    path = f"device={quote(device, safe='')}/date={date}/kind={kind}/{run}-{block}"
    return f"{prefix}/{path}" if prefix else path


def _keys(options: Options) -> tuple[str, str] | None:
    if options.access_key is None or options.secret_key is None:
        return None
    return options.access_key.reveal_token(), options.secret_key.reveal()


def _is_folder(name: str) -> bool:
    return name not in ("", ".", "..") and name.isprintable()


def _check_endpoint(url: str) -> None:
    expected = "https://HOST or https://HOST:PORT"
    if (parts := address(url, ("http", "https"))) is None:
        raise ConfigFault("not a URL", where="endpoint", expected=expected)
    if parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment:
        hint = "The bucket belongs under `bucket:`, the keys under `access_key:` and `secret_key:`."
        raise ConfigFault("more than a store's address", where="endpoint", expected=expected, hint=hint)
