"""Starts the window. It is up before torch is imported, which happens on the engine's thread."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from desktop_rlhf import __version__
from desktop_rlhf.gui import theme
from desktop_rlhf.gui.bridge.collector import Collector
from desktop_rlhf.gui.widgets.icons import app_icon
from desktop_rlhf.gui.window import PROGRAM, MainWindow
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.settings import go_offline

logger = logging.getLogger(__name__)


def run(project_path: Path | None = None, new_starter: bool = False) -> int:
    """Show the window and run until it is closed.

    Args:
        project_path: a project to open at once.
        new_starter:  open the starter project, or make it when there is none.

    Returns:
        The exit status of the process.
    """
    go_offline()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setOrganizationName(PROGRAM)
    app.setApplicationName(PROGRAM)
    app.setApplicationVersion(__version__)
    app.setDesktopFileName(PROGRAM)
    app.setWindowIcon(app_icon())
    theme.follow(app)
    app.styleHints().colorSchemeChanged.connect(lambda _: theme.follow(app))

    window = MainWindow()
    collector = Collector(window)
    window.model_loaded.connect(collector.freeze)
    reporter = Reporter(window)
    window.failed.connect(reporter.report)
    sys.excepthook = reporter.take
    window.show()
    # From the event loop, so that the window is painted first.
    if project_path is not None:
        QTimer.singleShot(0, lambda: window.open_project(project_path))
    elif new_starter:
        QTimer.singleShot(0, window.open_starter)
    status = app.exec()
    collector.close()
    sys.excepthook = sys.__excepthook__
    if window.left_behind:
        # A thread is inside a library and cannot be told to end. What it had is on the disk; waiting brings nothing.
        QSettings().sync()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


class Reporter:
    """Shows what nobody caught: errors of the world in place, bugs of ours in a dialog that can be copied."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window

    def take(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """An excepthook."""
        if isinstance(error, KeyboardInterrupt):
            self._window.close()
            return
        self.report(error)

    def report(self, error: BaseException) -> None:
        """Show ``error`` in the way that fits it."""
        logger.error("%s", error, exc_info=None if isinstance(error, WorldError) else error)
        if isinstance(error, WorldError):
            self._window.show_error(error)
        else:
            error_dialog(error, self._window).open()


def error_dialog(error: BaseException, parent: QWidget | None = None) -> QMessageBox:
    """An unexpected error with its traceback and a button that copies it."""
    report = f"{PROGRAM} {__version__}, Python {sys.version.split()[0]}, {sys.platform}\n\n"
    report += "".join(traceback.format_exception(error))
    box = QMessageBox(QMessageBox.Icon.Critical, "Unexpected error", "Something went wrong in the program.")
    box.setParent(parent, Qt.WindowType.Dialog)
    box.setObjectName("error-dialog")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setInformativeText(
        f"{type(error).__name__}: {error}\n\nYour judgements are safe. You can go on; a report helps to mend it."
    )
    box.setDetailedText(report)
    copy = box.addButton("Copy report", QMessageBox.ButtonRole.ActionRole)
    copy.clicked.disconnect()  # copying does not close the dialog
    copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(report))
    box.addButton(QMessageBox.StandardButton.Close)
    return box
