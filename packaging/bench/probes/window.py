"""The program's window in this process, with settings of its own and, if need be, an engine that does nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

from PySide6.QtCore import QEventLoop, QSettings, QTimer
from PySide6.QtWidgets import QApplication

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.bridge.engine_thread import Say
from desktop_rlhf.workbench.messages import Command


@contextmanager
def application() -> Iterator[tuple[QApplication, Path]]:
    """The application, and a folder that is gone afterwards; nobody's settings are read or written."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with (
        TemporaryDirectory() as folder,
        patch("desktop_rlhf.gui.pages.start.recent_path", lambda: Path(folder) / "recent.ini"),
    ):
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
        app = QApplication.instance() or QApplication(["probe"])
        assert isinstance(app, QApplication)
        app.setOrganizationName("probe")
        app.setApplicationName("probe")
        theme.follow(app)
        yield app, Path(folder)


def wait_until(true: Callable[[], bool], within_s: float, every_ms: int = 20) -> None:
    """Let the window live until ``true()``.

    Raises:
        TimeoutError: it was not within the time.
    """
    loop = QEventLoop()
    until = perf_counter() + within_s
    timer = QTimer(interval=every_ms)
    timer.timeout.connect(lambda: loop.quit() if true() or perf_counter() > until else None)
    timer.start()
    loop.exec()
    timer.stop()
    if not true():
        raise TimeoutError(f"not within {within_s} s")


class IdleEngine:
    """Does nothing until it is shut down."""

    def __init__(self, project_path: Path, say: Say) -> None:
        self._over = threading.Event()

    def submit(self, command: Command) -> None: ...

    def pause(self, job_id: str) -> None: ...

    def resume(self, job_id: str) -> None: ...

    def stop(self, job_id: str) -> None: ...

    def shutdown(self) -> None:
        self._over.set()

    def run(self) -> None:
        self._over.wait()
