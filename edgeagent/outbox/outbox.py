"""The durable queue: SQLite in WAL mode, `synchronous=FULL`, one transaction a step.

What `append` has returned from survives a power cut. Called by one thread; has no clock and no thread.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from edgeagent.errors import Bug, StorageFault
from edgeagent.outbox.blobs import LARGE_BYTES, Blobs
from edgeagent.outbox.counts import Counters, Counts
from edgeagent.outbox.desk import Desk, Refused
from edgeagent.outbox.dispatch import Accepts, Arrived, Batch, Dispatch
from edgeagent.outbox.expiry import Expiry
from edgeagent.outbox.files import DAMAGED, NAME, fault, is_damage, open_database, set_aside
from edgeagent.outbox.parcels import Parcel, Parcels, id_of, pack, parcelled, rows_of
from edgeagent.outbox.room import Limit, Room
from edgeagent.outbox.routes import NONE, Kinds, Routes
from edgeagent.outbox.salvage import Salvage, Salvaged, unread
from edgeagent.records import Draft, Kind, Priority, Record
from edgeagent.timebase import Wall, rfc3339

Result = TypeVar("Result")

_ROWS_A_FILE = 1 << 32  # of one priority: more than will ever be made
_UPSTREAM_COUNTERS = ("delivered", "rejected", "evicted", "waiting")
_COUNTERS = ("made", *_UPSTREAM_COUNTERS)
NEVER: Mapping[Kind, float] = MappingProxyType({})
_SENT = "sent bytes"  # a counter a link and month
_UNWRITTEN_BYTES = 100_000  # so many may go over the links before they are counted on the disk

_KIND = attrgetter("kind")


class Outbox:
    """The queue of one device.

    Args:
        folder: Where `outbox.db` lies; made if it is not there.
        device, run, boot_id: What the envelope of each record says.
        upstreams: Their names, and the kinds that each wants (none: all).
        newest: The kinds of which an upstream gets the newest first, where it wants any so.
        max_bytes: How large it may grow before the least worth makes room; its log takes up to 4 MB more.
        keep_free_bytes: It grows no further once less of the disk is free.
        expire_s: By kind, how old a record may become before it is given up.
        large_bytes: Records of this size and more become files of their own.
        first_seq: The sequence number to begin with in this run, if the file does not know a later one.

    Raises StorageFault if the folder cannot be used, or another process uses it.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        run: str,
        boot_id: str,
        upstreams: Kinds,
        *,
        newest: Kinds = NONE,
        max_bytes: int,
        keep_free_bytes: int = 0,
        expire_s: Mapping[Kind, float] = NEVER,
        large_bytes: int = LARGE_BYTES,
        first_seq: int = 1,
    ) -> None:
        self._folder, self._device, self._run, self._boot_id = folder, device, run, boot_id
        self._encode = msgspec.msgpack.Encoder().encode
        self._unwanted, self._large_bytes = 0, large_bytes
        self._unwritten: Counter[tuple[str, str]] = Counter()
        self._salvage: Salvage | None = None
        self._db, self.set_aside = open_database(folder)
        try:
            with self._faults():
                self._counts = Counts(self._db)
                self._blobs = Blobs(self._db, folder, keep=bool(unread(folder)))
                self._routes = Routes(self._db, self._counts, self._blobs)
                self._parcels = Parcels(self._db, self._blobs)
                self._room = Room(
                    self._db, self._routes, self._blobs, self._parcels, folder, max_bytes, keep_free_bytes
                )
                self._expiry = Expiry(self._parcels, self._routes, boot_id, expire_s)
                self._salvage = Salvage(
                    self._counts, self._routes, self._blobs, self._parcels, folder, self._new_row
                )
                self._next_row = self._first_free_rows()
                self._dispatch = Dispatch(
                    self._db, self._counts, self._routes, self._blobs, self._parcels, self._next_row
                )
                self._desk = Desk(
                    self._db,
                    self._counts,
                    self._routes,
                    self._blobs,
                    self._parcels,
                    in_flight=self._dispatch.in_flight,
                    new_row=self._new_row,
                )
            self.next_seq = max(first_seq, self._counts.get("seq", upstream=run) + 1)
            self.route(upstreams, newest)
        except BaseException:
            self.close()
            raise

    def _last_row(self, priority: Priority) -> int:
        query = "SELECT row + n - 1 FROM record WHERE row >= ? AND row < ? ORDER BY row DESC LIMIT 1"
        first, end = rows_of(priority)
        found = self._db.execute(query, (first, end)).fetchone()
        return found[0] if found else first - 1

    def _first_free_rows(self) -> list[int]:
        """By priority (no dict: an enum is slow to hash). What files that were set aside may give back is older."""
        taken = len(list(self._folder.glob(DAMAGED))) * _ROWS_A_FILE
        return [max(self._last_row(p) + 1, rows_of(p)[0] + taken) for p in Priority]

    def _new_row(self, priority: Priority) -> int:
        self._next_row[priority] += 1
        return self._next_row[priority] - 1

    def route(self, upstreams: Kinds, newest: Kinds = NONE) -> None:
        """Say which upstreams there are from now on, and of which kinds each wants the newest first.

        Raises StorageFault.

        What waited for one alone that is gone waits for the next to come; so does what was made without any.
        """
        if self._routes.filter(upstreams):
            with self._transaction():
                self._routes.change()
        self._dispatch.route({name: newest.get(name, ()) for name in upstreams})

    # --- records come in ------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], wall: Wall) -> int:
        """Make records of the drafts, all durable or none, and say how many that were.

        A kind that no upstream wants makes no record. Sequence numbers follow `next_seq` in the drafts'
        order. Raises StorageFault; then the drafts are the caller's still, and the outbox must be closed
        and opened anew: whether they are durable after all, its `next_seq` tells.
        """
        masks = {kind: self._routes.mask(kind) for kind in set(map(_KIND, drafts))}
        wanted = drafts if all(masks.values()) else [draft for draft in drafts if masks[draft.kind]]
        if wanted:
            with self._transaction():
                self._append(wanted, wall)
        self._unwanted += len(drafts) - len(wanted)
        return len(wanted)

    def _append(self, drafts: Sequence[Draft], wall: Wall) -> None:
        limit = self._room.limit()
        self._insert(drafts, wall)
        self._make_room(limit, drafts[-1].mono_ns, wall)
        self._count_seq()

    def _make_room(self, limit: Limit, mono_ns: int, wall: Wall) -> None:
        gap = self._room.make(limit, mono_ns, self._dispatch.in_flight)
        if gap and self._routes.mask(gap.kind):
            self._insert([gap], wall)

    def _record(self, draft: Draft, seq: int, wall: Wall) -> bytes:
        record = Record(
            id=f"{self._device}/{self._run}/{seq}",
            kind=draft.kind,
            run=self._run,
            boot_id=self._boot_id,
            mono_ns=draft.mono_ns,
            time=rfc3339(draft.mono_ns + wall.offset_ns) if wall.synced else None,
            clock="synced" if wall.synced else "unsynced",
            priority=draft.priority,
            body=draft.body,
        )
        try:
            return self._encode(record)
        except (TypeError, ValueError, OverflowError) as e:
            raise Bug(f"a {draft.kind} record cannot be encoded: {e}") from e

    def _insert(self, drafts: Sequence[Draft], wall: Wall) -> None:
        """Drafts of one priority and kind that follow one another lie in parcels."""
        encoded = [
            (draft.priority, draft.kind, self._record(draft, seq, wall))
            for seq, draft in enumerate(drafts, self.next_seq)
        ]
        self.next_seq += len(drafts)
        encoded.sort(key=itemgetter(0))
        self._parcels.add(
            [
                self._parcel(priority, kind, some)
                for (priority, kind), alike in groupby(encoded, itemgetter(0, 1))
                for some in parcelled((record for *_, record in alike), self._large_bytes)
            ]
        )
        self._blobs.sync()
        for kind, n in Counter(map(_KIND, drafts)).items():
            self._counts.add("made", kind, n=n)
            for upstream in ("", *self._routes.names(self._routes.mask(kind))):
                self._counts.add("waiting", kind, upstream, n)

    def _parcel(self, priority: Priority, kind: Kind, records: list[bytes]) -> Parcel:
        """With new rows. A large record goes into its file."""
        row, n = self._next_row[priority], len(records)
        self._next_row[priority] += n
        payload, file = pack(records), None
        if n == 1 and len(payload) >= self._large_bytes:
            file = self._blobs.put(payload)
            payload = self._encode({"id": id_of(payload)})
        return Parcel(row, kind, self._routes.mask(kind), 0, payload, file, n)

    def _count_seq(self) -> None:
        """The run's last sequence number stands among the counters: same transaction, same page."""
        last = self._counts.get("seq", upstream=self._run)
        if not last:
            self._db.execute("DELETE FROM counter WHERE what = 'seq'")
        self._counts.add("seq", "", self._run, self.next_seq - 1 - last)

    def expire(self, mono_ns: int, wall: Wall) -> int:
        """Give up what has become too old, and say how many records that were; not all at once.

        Raises StorageFault.
        """
        with self._faults():
            old = self._expiry.find(mono_ns, wall, self._dispatch.in_flight())
        if old:
            with self._transaction():
                gap = self._expiry.give_up(old, mono_ns)
                if self._routes.mask(gap.kind):
                    self._insert([gap], wall)
                self._count_seq()
        return len(old)

    # --- records go out -------------------------------------------------------------------------------

    def take(self, upstream: str, max_records: int, max_bytes: int, least: Priority = Priority.BULK) -> Batch:
        """What an upstream should get next, by priority, then age; at least one record if any waits.

        Nothing of a lesser priority than `least`; what has been passed over for long goes first
        (dispatch.py). They are in flight, and not taken again, until they are settled. Raises StorageFault.
        """
        with self._faults():
            return self._dispatch.take(upstream, max_records, max_bytes, least)

    def settle(
        self,
        upstream: str,
        accepted: Collection[int],
        rejected: Mapping[int, str],
        kept: Collection[int] = (),
    ) -> None:
        """End the flight of rows that were taken: acknowledged, refused (with the reason), or to be kept.

        Rows that are not in flight are passed over: the outbox was opened anew since, and hands them out
        again. Raises StorageFault.
        """
        delivered = self._dispatch.flying(upstream, accepted)
        refused = {row: rejected[row] for row in self._dispatch.flying(upstream, rejected)}
        if delivered or refused or self._unwritten.total() >= _UNWRITTEN_BYTES:
            with self._transaction():
                self._dispatch.accepted(upstream, delivered)
                self._dispatch.rejected(upstream, refused)
        self._dispatch.land(upstream, delivered.union(refused), kept)

    def arrived(
        self, upstream: str, after: int, accepted: Accepts, refused: Mapping[str, str]
    ) -> Arrived | None:
        """Settle what reached an upstream by another way: a page of rows, None if there are no more.

        Raises StorageFault.
        """
        if upstream not in list(self._routes):
            raise StorageFault(f"the outbox knows no upstream {upstream!r}", where=str(self._folder))
        with self._transaction():
            page = self._dispatch.arrived(upstream, after, accepted, refused)
        self._dispatch.look_again()
        return page

    def note_sent(self, upstream: str, month: str, size_bytes: int) -> None:
        """So many bytes went over an upstream's link; written with whatever is written next, or if they are many."""
        self._unwritten[upstream, month] += size_bytes

    def sent_bytes(self, upstream: str) -> dict[str, int]:
        """What has gone over a link since the outbox was begun, by month."""
        sent = Counter(self._counts.by_kind(_SENT, upstream))
        sent.update({month: n for (name, month), n in self._unwritten.items() if name == upstream})
        return dict(sent)

    # --- what was set aside comes back ------------------------------------------------------------------

    @property
    def salvaging(self) -> bool:
        """Whether `salvage` has something to do."""
        return bool(self._salvage)

    def salvage(self, mono_ns: int, wall: Wall) -> Salvaged | None:
        """Read some more of the files that were set aside, and queue what is found; what was, once one is read
        through. Raises StorageFault.
        """
        if not self._salvage:
            return None
        with self._transaction():
            limit = self._room.limit()
            finished = self._salvage.step()
            self._make_room(limit, mono_ns, wall)
            self._count_seq()
        self._dispatch.look_again()
        return self._salvage.finish() if finished else None

    # --- state ----------------------------------------------------------------------------------------

    def quarantined(self) -> list[Refused]:
        """The newest records that an upstream refused, oldest first. Raises StorageFault."""
        return self.read(Desk.refused)

    def read(self, do: Callable[[Desk], Result]) -> Result:
        """Look something up. Raises StorageFault."""
        with self._faults():
            return do(self._desk)

    def change(self, do: Callable[[Desk], Result]) -> Result:
        """Change something, all of it or nothing. Raises StorageFault."""
        with self._transaction():
            result = do(self._desk)
        self._dispatch.look_again()
        return result

    def counters(self) -> Counters:
        """The outbox in numbers. Raises StorageFault."""
        with self._faults():
            used_bytes, limit = self._room.used_bytes(), self._room.limit()
        by_kind = self._counts.by(_COUNTERS, upstream=False)
        by_upstream = self._counts.by(_UPSTREAM_COUNTERS, upstream=True)
        return Counters(
            **{what: sum(row[what] for row in by_kind.values()) for what in _COUNTERS},
            unwanted=self._unwanted,
            used_bytes=used_bytes,
            limit_bytes=limit.used_bytes,
            limited_by=limit.cause,
            by_kind=by_kind,
            by_upstream={
                name: by_upstream.get(name, dict.fromkeys(_UPSTREAM_COUNTERS, 0)) for name in self._routes
            },
        )

    def close(self) -> None:
        """Let go of the files; never raises. What was appended is durable already."""
        if self._salvage:
            self._salvage.close()
        with suppress(sqlite3.Error):
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._faults():
            next_seq, next_row = self.next_seq, list(self._next_row)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for (upstream, month), n in self._unwritten.items():
                    self._counts.add(_SENT, month, upstream, n)
                yield
                self._counts.write()
                self._db.execute("COMMIT")
            except BaseException:
                self._counts.rolled_back()
                self._blobs.rolled_back()
                self.next_seq, self._next_row[:] = next_seq, next_row
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._counts.committed()
            self._blobs.committed()
            self._unwritten.clear()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what SQLite raises into a StorageFault; a damaged file is set aside on the spot."""
        try:
            yield
        except sqlite3.ProgrammingError as e:
            raise Bug(f"the outbox is misused: {e}") from e
        except (sqlite3.Error, OSError) as e:
            if isinstance(e, sqlite3.Error) and is_damage(e):
                self.close()
                with suppress(OSError):  # then it is found again, and set aside, when it is opened
                    self.set_aside = set_aside(self._folder / NAME, str(e))
            raise fault(e, self._folder) from e
