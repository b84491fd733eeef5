"""Fields for a whole number: one that lies on a page that scrolls, and one on a page whose keys do something."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QSpinBox

TAKE = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class _NumberBox(QSpinBox):
    """Keeps the number off the left border, which a stylesheet's padding does not: Qt begins the text at the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.lineEdit().setTextMargins(7, 0, 0, 0)


class CalmSpinBox(_NumberBox):
    """Leaves the wheel to the page until a person is in the field."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class BriefSpinBox(_NumberBox):
    """A number on a page whose keys do something: Enter takes what was written, Escape leaves what stood there.

    Signals:
        done: either was pressed, so that the page can have its keys back.
    """

    done = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setKeyboardTracking(False)

    def event(self, event: QEvent) -> bool:
        # Before the page's shortcuts are looked for, of which Enter may be one.
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and _ends(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not _ends(event):
            super().keyPressEvent(event)
            return
        if event.key() in TAKE:
            self.interpretText()
        else:
            self.setValue(self.value())  # which is what stood there: without tracking, what is written is only text
        self.done.emit()


def _ends(event: QKeyEvent) -> bool:
    return event.key() in (*TAKE, Qt.Key.Key_Escape)
