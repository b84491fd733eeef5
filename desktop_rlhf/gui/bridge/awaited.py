"""Work of seconds or minutes whose end is waited for, while the window goes on painting."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from PySide6.QtCore import QEventLoop, QObject, Signal
from PySide6.QtWidgets import QWidget

from desktop_rlhf.gui.bridge.errand import Errand
from desktop_rlhf.gui.widgets.busy_dialog import BusyDialog

T = TypeVar("T")
PIECES = 500  # between two counts that are told
UNSEEN_S = 0.1
"""What takes no longer needs no dialog."""


class BrokenOffError(Exception):
    """The person broke the work off."""


class Watch(QObject):
    """Is told on the work's thread how many pieces are done, and raises there once the person wants no more.

    Signals:
        counted: so many, now and then.
    """

    counted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._broken_off = Event()

    def __call__(self, count: int) -> None:
        if self._broken_off.is_set():
            raise BrokenOffError
        if count % PIECES == 0:
            self.counted.emit(count)

    def break_off(self) -> None:
        """Let the work end at its next piece."""
        self._broken_off.set()


def awaited(parent: QWidget, sentence: str, work: Callable[[], T], watch: Watch | None = None) -> T:
    """What ``work`` gives or raises, done on a thread of its own. The person can do nothing else meanwhile.

    Args:
        sentence: what is being done, for when it takes long enough to be read.
        watch:    what ``work`` tells how far it is, where it can be broken off.

    Raises:
        BrokenOffError: it was.
    """
    made: list[T] = []
    ended: list[BaseException | None] = []
    waiting = QEventLoop()
    dialog = BusyDialog(sentence, can_break_off=watch is not None, parent=parent)
    if watch is not None:  # before the work begins, of which nothing is to be missed
        dialog.broken_off.connect(watch.break_off)
        watch.counted.connect(lambda count: dialog.say(f"{count:,} so far"))
    errand = Errand(lambda: made.append(work()), parent)
    errand.done.connect(ended.append)
    errand.done.connect(waiting.quit)
    if not errand.wait(UNSEEN_S):
        dialog.open()
    waiting.exec()
    dialog.hide()
    dialog.deleteLater()
    if ended[0] is not None:
        raise ended[0]
    return made[0]
