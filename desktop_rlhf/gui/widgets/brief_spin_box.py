"""A field that is left by the key that ends it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QSpinBox

from desktop_rlhf.gui.widgets.controls import indent

TAKE = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class BriefSpinBox(QSpinBox):
    """A number on a page whose keys do something: Enter takes what was written, Escape leaves what stood there.

    Signals:
        done: either was pressed, so that the page can have its keys back.
    """

    done = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setKeyboardTracking(False)
        indent(self)

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
