"""Opening a project's file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from desktop_rlhf.records.errors import ProjectBusyError, ProjectError, ProjectNewerError
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.store.adapters import AdapterTable
from desktop_rlhf.store.comparisons import ComparisonTable
from desktop_rlhf.store.completions import CompletionTable
from desktop_rlhf.store.connection import PATIENCE_S, Connection, read_only_uri, translated
from desktop_rlhf.store.prompts import PromptTable
from desktop_rlhf.store.runs import RunTable
from desktop_rlhf.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrations
from desktop_rlhf.store.side_by_sides import SideBySideTable


class Store(Connection):
    """A project's tables over one connection. Every method of theirs commits before it returns."""

    def __init__(self, path: Path, *, read_only: bool = False, patience_s: float = PATIENCE_S) -> None:
        super().__init__(path, read_only=read_only, patience_s=patience_s)
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
    def open(cls, path: Path, *, patience_s: float = PATIENCE_S) -> Store:
        """Open a file, bringing an older one up to date.

        Args:
            patience_s: for how long a write waits for another connection's.

        Raises:
            ProjectError: there is none, or it is not one of ours.
            ProjectNewerError: a newer version wrote it; it is not touched.
        """
        _schema_of(path)
        store = cls(path, patience_s=patience_s)
        with translated(path):
            migrations.apply(store.db)
            store.db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return store

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """Open a file that another process may be writing to, as it is at the first look; nothing can be written.

        The file is in WAL, so neither waits for the other. One transaction from here to ``close`` holds what is read
        together: a comparison that is retracted meanwhile stays whole.

        Raises:
            ProjectError: there is none, it is not one of ours, or an older version has it open.
            ProjectNewerError: a newer version wrote it.
        """
        if _schema_of(path) < SCHEMA_VERSION:  # bringing it up to date is a write
            raise ProjectBusyError(
                f"“{path.parent.name}” was made by an older version and is open in another window or command.",
                "Close it there first.",
            )
        store = cls(path, read_only=True)
        store.db.execute("BEGIN")
        return store

    def info(self) -> ProjectInfo:
        """The project's own row; ProjectError when the program ended while it was being made."""
        for row in self.db["project"].rows:
            return ProjectInfo(**row)
        raise ProjectError(f"The project “{self.path.parent}” was never finished.", "Make a new one in another folder.")


def _schema_of(path: Path) -> int:
    """The file's version of the schema; raises for a file that is not ours or is newer, without writing to it."""
    if not path.is_file():
        raise ProjectError(f"“{path.parent}” holds no project.", "Choose the folder of a project, or make a new one.")
    connection = sqlite3.connect(read_only_uri(path), uri=True)
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
    return int(version)
