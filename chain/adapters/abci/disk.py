"""What an application keeps: blocks as it applied them, and snapshots to begin from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from chain.snapshot import Index, index_of

KEPT = 2
"""Snapshots that are kept, the newest ones."""


class Disk:
    """A sqlite file. What a method was given is on the disk when it returns, whole or not at
    all."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        with self._base:
            for columns in (
                "blocks (height INTEGER PRIMARY KEY, block BLOB NOT NULL)",
                "snapshots (height INTEGER PRIMARY KEY, root BLOB NOT NULL)",
                "chunks (height INTEGER, number INTEGER, data BLOB NOT NULL,"
                " PRIMARY KEY (height, number))",
            ):
                self._base.execute(f"CREATE TABLE IF NOT EXISTS {columns}")

    def close(self) -> None:
        """Nothing is asked of it afterwards."""
        self._base.close()

    # -- blocks

    def append(self, height: int, block: bytes) -> None:
        """Keeps an applied block."""
        with self._base:
            self._base.execute("INSERT INTO blocks VALUES (?, ?)", (height, block))

    def blocks(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Blocks from a height, ascending."""
        rows = self._base.execute(
            "SELECT height, block FROM blocks WHERE height >= ? ORDER BY height", (start,)
        )
        yield from ((int(height), bytes(block)) for height, block in rows)

    # -- snapshots

    def save(self, height: int, root: bytes, chunks: list[bytes], alone: bool = False) -> None:
        """Keeps a snapshot and drops old ones; ``alone``: with everything that was here before, as
        the state came from elsewhere."""
        with self._base:
            if alone:
                for table in ("blocks", "snapshots", "chunks"):
                    self._base.execute(f"DELETE FROM {table}")
            self._base.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (height, root))
            self._base.executemany(
                "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)",
                [(height, number, data) for number, data in enumerate(chunks)],
            )
            for old in self.heights()[KEPT:]:
                self._base.execute("DELETE FROM snapshots WHERE height = ?", (old,))
                self._base.execute("DELETE FROM chunks WHERE height = ?", (old,))

    def heights(self) -> list[int]:
        """Of the snapshots, newest first."""
        rows = self._base.execute("SELECT height FROM snapshots ORDER BY height DESC")
        return [int(height) for (height,) in rows]

    def root(self, height: int) -> bytes:
        """The state root of a snapshot."""
        (root,) = self._base.execute(
            "SELECT root FROM snapshots WHERE height = ?", (height,)
        ).fetchone()
        return bytes(root)

    def chunks(self, height: int) -> list[bytes]:
        """All chunks of a snapshot."""
        rows = self._base.execute(
            "SELECT data FROM chunks WHERE height = ? ORDER BY number", (height,)
        )
        return [bytes(data) for (data,) in rows]

    def chunk(self, height: int, number: int) -> bytes:
        """One chunk; empty where there is none."""
        row = self._base.execute(
            "SELECT data FROM chunks WHERE height = ? AND number = ?", (height, number)
        ).fetchone()
        return b"" if row is None else bytes(row[0])

    def index(self, height: int) -> Index:
        """The index of a snapshot."""
        return index_of(self.chunks(height))
