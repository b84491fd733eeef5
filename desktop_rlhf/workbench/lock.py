"""One writer per project, by a lock of the operating system: it falls with the process, however that ends.

Who only reads needs none, see ``Project.open_to_read``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from desktop_rlhf.records.errors import ProjectBusyError, ProjectError
from desktop_rlhf.workbench.folder import LOCK_FILE


class ProjectLock:
    """Held from construction to ``release``.

    Raises:
        ProjectError: the folder cannot be written to.
        ProjectBusyError: another process, or another part of this one, holds it.
    """

    def __init__(self, project_path: Path) -> None:
        try:
            self._file = os.open(project_path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ProjectError(
                f"“{project_path}” cannot be written to: {error.strerror}.", "Choose a folder that is yours."
            ) from error
        try:
            _take(self._file)
        except OSError as error:
            os.close(self._file)
            raise ProjectBusyError(
                f"“{project_path.name}” is open in another window or command.", "Close it there first."
            ) from error

    def release(self) -> None:
        """Let go. Twice is as once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
