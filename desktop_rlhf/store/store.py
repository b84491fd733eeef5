"""Opening a project's database, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from desktop_rlhf.records.errors import DiskFullError, ProjectError, ProjectNewerError
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.store.adapters import AdapterTable
from desktop_rlhf.store.comparisons import ComparisonTable
from desktop_rlhf.store.completions import CompletionTable
from desktop_rlhf.store.prompts import PromptTable
from desktop_rlhf.store.runs import RunTable
from desktop_rlhf.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrations
from desktop_rlhf.store.side_by_sides import SideBySideTable

BUSY_TIMEOUT_MS = 5000
_WRITE_FAILED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC)


class Store:
    """One connection to a project's file, for one thread. Every method commits before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = Database(sqlite3.connect(path))
        for pragma in ("foreign_keys = ON", "synchronous = FULL", f"busy_timeout = {BUSY_TIMEOUT_MS}"):
            self.db.execute(f"PRAGMA {pragma}")
        self.prompts = PromptTable(self)
        self.completions = CompletionTable(self)
        self.comparisons = ComparisonTable(self)
        self.adapters = AdapterTable(self)
        self.runs = RunTable(self)
        self.side_by_sides = SideBySideTable(self)

    @classmethod
    def create(cls, path: Path, info: ProjectInfo) -> Store:
        """Make a new file.

        Raises:
            ProjectError: there is one already.
            DiskFullError: there is no room for it.
        """
        if path.exists():
            raise ProjectError(f"“{path.parent}” holds a project already.", "Open it, or choose another folder.")
        store = cls(path)
        with translated(path):
            store.db.execute("PRAGMA journal_mode = WAL")
            store.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrations.apply(store.db)
            store.db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            with store.transaction():
                store.db["project"].insert(
                    {"id": info.id, "name": info.name, "base_model": info.base_model, "base_sha256": info.base_sha256}
                    | {"labeller": info.labeller, "created_at": info.created_at}
                )
        return store

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a file, bringing an older one up to date.

        Raises:
            ProjectError: there is none, or it is not one of ours.
            ProjectNewerError: a newer version wrote it; it is not touched.
        """
        if not path.is_file():
            raise ProjectError(
                f"“{path.parent}” holds no project.", "Choose the folder of a project, or make a new one."
            )
        _refuse_strangers(path)
        store = cls(path)
        with translated(path):
            migrations.apply(store.db)
            store.db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return store

    def info(self) -> ProjectInfo:
        """The project's own row."""
        return ProjectInfo(**next(self.db["project"].rows))

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


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a full disk into an error for the person."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) in _WRITE_FAILED:
            raise DiskFullError(
                f"There is no room left to write to “{path.parent}”.",
                "Make some space and try again; what was saved before is safe.",
            ) from error
        raise


def _refuse_strangers(path: Path) -> None:
    """Raise for a file that is not ours or is newer, without writing to it."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        (ours,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ProjectError(f"“{path}” is not a project file.", "Choose the folder of a project.") from error
    finally:
        connection.close()
    if ours != APPLICATION_ID:
        raise ProjectError(f"“{path}” is not a project file.", "Choose the folder of a project.")
    if version > SCHEMA_VERSION:
        raise ProjectNewerError(
            f"“{path.parent}” was made by a newer version of this program.", "Update the program; nothing was changed."
        )
