"""An open project: when its engine begins."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QWidget

from desktop_rlhf.gui.window import MainWindow


class Paints(QObject):
    """Notes which widgets are painted while it filters the application's events."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def eventFilter(self, watched, event) -> bool:
        if event.type() == QEvent.Type.Paint and isinstance(watched, QWidget):
            self.kinds.add(type(watched).__name__)
        return False


def test_that_the_engine_begins_when_the_project_was_painted(
    qapp, closed_project, make_engine, engines, qtbot, monkeypatch
):
    monkeypatch.setattr("desktop_rlhf.gui.workspace.BEGIN_WITHIN_MS", 60_000)  # it is the paint that begins it
    paints, seen = Paints(), []

    def make(path, say):
        seen.append(set(paints.kinds))
        return make_engine(path, say)

    window = MainWindow(make)
    qtbot.addWidget(window)
    window.show()
    qapp.installEventFilter(paints)
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    qapp.removeEventFilter(paints)
    assert {"Workspace", "LabelPage", "JobStrip"} <= seen[0]
    window.close()


def test_that_the_engine_begins_in_a_window_that_nobody_sees(closed_project, make_engine, engines, qtbot):
    window = MainWindow(make_engine)
    qtbot.addWidget(window)
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    window.close()


def test_that_the_engine_of_a_project_that_is_left_at_once_never_begins(
    window, closed_project, engines, qapp, monkeypatch
):
    monkeypatch.setattr("desktop_rlhf.gui.workspace.BEGIN_WITHIN_MS", 0)
    window.open_project(closed_project)
    window.close_project()
    for _ in range(20):
        qapp.processEvents()  # which fires timers and deletes nothing
    assert not engines
    assert window.workspace is None
