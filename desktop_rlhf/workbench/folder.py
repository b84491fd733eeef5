"""A project's folder: what lies in it, and how it is begun and taken away again."""

from __future__ import annotations

from pathlib import Path

from desktop_rlhf.records.errors import ProjectError

STORE_FILE = "project.sqlite"
ADAPTERS_FOLDER = "adapters"
CHECKPOINTS_FOLDER = "checkpoints"
LOCK_FILE = ".lock"


def begin_folder(path: Path) -> None:
    """Make the folder for a project in a folder that is empty or does not exist.

    Raises:
        ProjectError: it holds something already or cannot be made.
    """
    try:
        if path.exists() and any(entry.name != LOCK_FILE for entry in path.iterdir()):
            raise ProjectError(f"The folder “{path}” is not empty.", "Choose a new folder.")
        (path / ADAPTERS_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"The folder “{path}” cannot be made: {error.strerror}.", "Choose another.") from error


def clear_folder(path: Path) -> None:
    """Take away what the making of a project left when it was broken off."""
    for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", LOCK_FILE):
        (path / name).unlink(missing_ok=True)
    (path / ADAPTERS_FOLDER).rmdir()
    path.rmdir()
