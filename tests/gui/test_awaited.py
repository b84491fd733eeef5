"""Work whose end is waited for: off the window's thread, with the window held and painting, and broken off."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget

from desktop_rlhf.gui.bridge import awaited as module
from desktop_rlhf.gui.bridge.awaited import PIECES, BrokenOffError, Watch, awaited
from desktop_rlhf.gui.widgets.busy_dialog import BusyDialog


@pytest.fixture
def parent(qtbot) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def slow(monkeypatch):
    """Every work takes long enough for the dialog."""
    monkeypatch.setattr(module, "UNSEEN_S", 0.0)


def when_busy(parent: QWidget, then) -> None:
    """Do something once the dialog stands over ``parent``."""

    def look() -> None:
        found = [one for one in parent.findChildren(BusyDialog) if one.isVisible()]
        if found:
            then(found[0])
        else:
            QTimer.singleShot(5, look)

    QTimer.singleShot(0, look)


def test_that_work_is_done_on_another_thread_and_gives_what_it_made(parent) -> None:
    assert awaited(parent, "Counting…", threading.get_ident) != threading.get_ident()


def test_that_short_work_shows_no_dialog(parent, monkeypatch) -> None:
    monkeypatch.setattr(BusyDialog, "open", lambda self: pytest.fail("a dialog was shown"))
    monkeypatch.setattr(module, "UNSEEN_S", 60.0)
    assert awaited(parent, "Counting…", lambda: 3) == 3


def test_that_what_the_work_raises_is_raised(parent) -> None:
    def work() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        awaited(parent, "Counting…", work)


def test_that_the_window_lives_meanwhile_and_nothing_else_can_be_done_in_it(parent, slow) -> None:
    go_on = threading.Event()
    seen = []

    def see(dialog: BusyDialog) -> None:
        seen.append(QApplication.activeModalWidget() is dialog)
        seen.append(dialog.findChild(QLabel).text())
        dialog.reject()  # what cannot be broken off keeps the window until its end
        seen.append(dialog.isVisible())
        go_on.set()

    when_busy(parent, see)
    assert awaited(parent, "Counting…", lambda: go_on.wait(60)) is True
    assert seen == [True, "Counting…", True]
    assert QApplication.activeModalWidget() is None


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Space])
def test_that_a_key_pressed_for_the_dialog_before_breaks_nothing_off(parent, slow, qtbot, key) -> None:
    watch, go_on = Watch(), threading.Event()

    def press(dialog: BusyDialog) -> None:
        qtbot.keyClick(dialog.focusWidget() or dialog, key)
        go_on.set()

    def work() -> int:
        go_on.wait(60)
        watch(1)
        return 7

    when_busy(parent, press)
    assert awaited(parent, "Counting…", work, watch) == 7


@pytest.mark.parametrize("by_key", [True, False])
def test_that_watched_work_is_counted_and_broken_off(parent, slow, qtbot, by_key) -> None:
    watch = Watch()
    counted = []
    watch.counted.connect(counted.append)

    def work() -> None:
        for number in range(1, 10**9):
            watch(number)

    def break_off(dialog: BusyDialog) -> None:
        if by_key:
            qtbot.keyClick(dialog, Qt.Key.Key_Escape)
        else:
            dialog.findChild(QPushButton, "busy-cancel").click()

    when_busy(parent, break_off)
    with pytest.raises(BrokenOffError):
        awaited(parent, "Counting…", work, watch)
    assert not [count for count in counted if count % PIECES]


def test_that_the_dialog_says_how_far_it_is(parent, slow) -> None:
    watch, go_on = Watch(), threading.Event()
    said = []

    def work() -> None:
        watch(3 * PIECES)
        go_on.wait(60)

    def look(dialog: BusyDialog) -> None:
        said.append(dialog.findChild(QLabel, "busy-progress").text())
        if said[-1]:
            go_on.set()
        else:
            QTimer.singleShot(5, lambda: look(dialog))

    when_busy(parent, look)
    awaited(parent, "Counting…", work, watch)
    assert said[-1] == "1,500 so far"
