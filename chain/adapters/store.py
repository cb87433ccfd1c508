"""A node's disk: decided blocks and blobs in sqlite, and the write-ahead log beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from chain.adapters.statesync import Offer
from chain.codec import decode, encode
from chain.genesis import Genesis
from chain.hashes import plain
from chain.orderer.messages import Certificate, Value
from chain.orderer.state import Safety
from chain.orderer.wal import frame, last_record
from gvm.files import write_bytes

KEPT = 2
"""Snapshots that are kept, the newest ones."""
MAX_LOG = 1 << 20
"""Bytes of log after which it is begun anew with its last record."""


def snapshot_height(offer: Offer) -> int:
    """The height of an offered state: below the block that names it."""
    return offer.decided.certificate.height - 1


class Store:
    """A folder. What :meth:`append` and :meth:`log` were given is on the disk when they return."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self.folder = folder
        path = folder / "chain.sqlite"
        if read_only and not path.exists():
            raise FileNotFoundError(2, "no chain is here", str(path))
        self._base = sqlite3.connect(path)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        with self._base:
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS blocks"
                " (height INTEGER PRIMARY KEY, value BLOB NOT NULL, certificate BLOB NOT NULL)"
            )
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS blobs (name BLOB PRIMARY KEY, data BLOB NOT NULL)"
            )
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS said (question BLOB PRIMARY KEY, data BLOB NOT NULL)"
            )
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS snapshots"
                " (height INTEGER PRIMARY KEY, offer BLOB NOT NULL)"
            )
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS chunks"
                " (height INTEGER, number INTEGER, name BLOB NOT NULL, data BLOB NOT NULL,"
                " PRIMARY KEY (height, number))"
            )

    # -- blocks

    @property
    def height(self) -> int:
        """The last height that is here, as a block or as a snapshot."""
        (last,) = self._base.execute(
            "SELECT MAX(height) FROM"
            " (SELECT 0 AS height UNION SELECT MAX(height) FROM blocks"
            " UNION SELECT MAX(height) FROM snapshots)"
        ).fetchone()
        return int(last)

    def append(self, height: int, value: Value, certificate: Certificate) -> None:
        """Stores a decided block."""
        with self._base:
            self._base.execute(
                "INSERT INTO blocks VALUES (?, ?, ?)",
                (height, encode(value), encode(certificate)),
            )

    def blocks(self, start: int, most: int = -1) -> Iterator[tuple[int, Value, Certificate]]:
        """Decided blocks by height."""
        rows = self._base.execute(
            "SELECT height, value, certificate FROM blocks WHERE height >= ? ORDER BY height"
            " LIMIT ?",
            (start, most),
        )
        for height, value, certificate in rows.fetchall():
            yield height, decode(Value, value), decode(Certificate, certificate)

    # -- snapshots

    def keep_snapshot(self, offer: Offer, chunks: list[bytes]) -> None:
        """Stores a checked snapshot, whole or not at all, and drops old ones."""
        height = snapshot_height(offer)
        rows = zip(range(len(chunks)), offer.chunks, chunks, strict=True)
        with self._base:
            self._base.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (height, encode(offer))
            )
            self._base.executemany(
                "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)",
                [(height, number, name, data) for number, name, data in rows],
            )
            for old in self.snapshots()[KEPT:]:
                self._base.execute("DELETE FROM snapshots WHERE height = ?", (old,))
                self._base.execute("DELETE FROM chunks WHERE height = ?", (old,))

    def snapshots(self) -> list[int]:
        """The heights of the snapshots that are kept, newest first."""
        rows = self._base.execute("SELECT height FROM snapshots ORDER BY height DESC")
        return [int(height) for (height,) in rows]

    def snapshot(self, height: int) -> tuple[Offer, list[bytes]]:
        """The snapshot of a height that :meth:`snapshots` lists."""
        (offer,) = self._base.execute(
            "SELECT offer FROM snapshots WHERE height = ?", (height,)
        ).fetchone()
        rows = self._base.execute(
            "SELECT data FROM chunks WHERE height = ? ORDER BY number", (height,)
        )
        return decode(Offer, offer), [bytes(data) for (data,) in rows]

    def chunk(self, name: bytes) -> bytes | None:
        """A chunk of a kept snapshot."""
        row = self._base.execute("SELECT data FROM chunks WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    @property
    def has_first_block(self) -> bool:
        """Whether the chain is here from its first block on."""
        (first,) = self._base.execute("SELECT MIN(height) FROM blocks").fetchone()
        return bool(first == 1)

    # -- blobs

    def put(self, data: bytes) -> bytes:
        """Stores bytes under their hash."""
        name = plain(data)
        with self._base:
            self._base.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (name, data))
        return name

    def get(self, name: bytes) -> bytes | None:
        """The bytes of a hash."""
        row = self._base.execute("SELECT data FROM blobs WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    # -- what was said

    def said(self, question: bytes) -> bytes | None:
        """What was answered to a question; None before the first answer."""
        row = self._base.execute("SELECT data FROM said WHERE question = ?", (question,)).fetchone()
        return None if row is None else bytes(row[0])

    def say(self, question: bytes, data: bytes) -> bytes:
        """The first answer that a question was given, this one if it is the first: on the disk when
        this returns, so that no crash makes a second one. L38."""
        with self._base:
            self._base.execute("INSERT OR IGNORE INTO said VALUES (?, ?)", (question, data))
        return self.said(question) or data

    # -- the write-ahead log

    @property
    def _log(self) -> Path:
        return self.folder / "votes.wal"

    def log(self, record: Safety) -> None:
        """Appends a record; it is on the disk when this returns. Where that fails, what was written
        of it is cut off again and the error raised: who gets it must not go on."""
        data = frame(record)
        size = self._log.stat().st_size if self._log.exists() else -1
        if size > MAX_LOG:
            write_bytes(self._log, data)
            self._sync_folder()
            return
        with open(self._log, "ab", buffering=0) as file:
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                # A torn record would hide every later one.
                file.truncate(max(size, 0))
                os.fsync(file.fileno())
                raise
        if size < 0:
            self._sync_folder()

    def _sync_folder(self) -> None:
        """Names of new files are on the disk when this returns."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def last_record(self) -> Safety | None:
        """The last whole record. What a crash tore off behind it is cut, so that later records
        follow a whole one."""
        if not self._log.exists():
            return None
        found = last_record(self._log.read_bytes())
        write_bytes(self._log, b"" if found is None else frame(found))
        self._sync_folder()
        return found

    # -- genesis

    def genesis(self) -> Genesis:
        """The genesis that lies in the folder."""
        return decode(Genesis, (self.folder / "genesis.cbor").read_bytes())
