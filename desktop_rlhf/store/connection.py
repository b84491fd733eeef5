"""One connection to a project's file, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from desktop_rlhf.records.errors import DiskFullError, ProjectError

PATIENCE_S = 5.0
_UNUSABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_WRITE_FAILED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC)


class Connection:
    """For one thread. The pragmas hold for the connection and cannot be set inside a transaction.

    Args:
        read_only:  SQLite refuses every write.
        patience_s: for how long a write waits for another connection's before it fails.
    """

    def __init__(self, path: Path, *, read_only: bool = False, patience_s: float = PATIENCE_S) -> None:
        self.path = path
        self.db = Database(sqlite3.connect(read_only_uri(path), uri=True) if read_only else sqlite3.connect(path))
        for pragma in ("foreign_keys = ON", "synchronous = FULL", f"busy_timeout = {round(1000 * patience_s)}"):
            self.db.execute(f"PRAGMA {pragma}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. The write lock is taken at once, so that what was read stays true until the commit.

        Inside another transaction it is a part of that one.
        """
        if self.db.conn.in_transaction:
            yield
            return
        with translated(self.path):
            self.db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.conn.execute("COMMIT")
            except BaseException:
                if self.db.conn.in_transaction:
                    self.db.conn.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self.db.close()


def read_only_uri(path: Path) -> str:
    """For ``sqlite3.connect``, which then never writes to the file."""
    return f"{path.resolve().as_uri()}?mode=ro"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a full disk, or of a file it cannot use, into an error for the person."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _UNUSABLE:
            raise ProjectError(
                f"“{path}” cannot be used: {error}.", "Restore it from a copy, or choose another."
            ) from error
        if code in _WRITE_FAILED:
            raise DiskFullError(
                f"There is no room left to write to “{path.parent}”.",
                "Make some space and try again; what was saved before is safe.",
            ) from error
        raise
