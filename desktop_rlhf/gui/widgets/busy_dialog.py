"""A dialog that holds the window while something is done."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label


class BusyDialog(QDialog):
    """Says what is being done and how far it is. It stays until it is told to go: nothing else is to be done meanwhile.

    Signals:
        broken_off: the person wants no more of it.
    """

    broken_off = Signal()

    def __init__(self, sentence: str, *, can_break_off: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("One moment")
        self.setWindowModality(Qt.WindowModality.ApplicationModal)
        self.setMinimumWidth(360)
        self._progress = label(role="hint", name="busy-progress")
        bar = QProgressBar()
        bar.setRange(0, 0)
        bar.setTextVisible(False)
        self._cancel = button("Cancel", "busy-cancel")
        self._cancel.setVisible(can_break_off)
        self._cancel.setAutoDefault(False)  # the Enter that chose a file must not break its import off
        self._cancel.clicked.connect(self.reject)
        last = QHBoxLayout()
        last.addWidget(self._progress, 1)
        last.addWidget(self._cancel)
        column = QVBoxLayout(self)
        column.addWidget(label(sentence))
        column.addWidget(bar)
        column.addLayout(last)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFocus()

    def say(self, progress: str) -> None:
        """How far it is."""
        self._progress.setText(progress)

    def reject(self) -> None:
        """The button, Escape and the window's own close; whoever does the work ends it, where that can be."""
        if self._cancel.isVisible() and self._cancel.isEnabled():
            self._cancel.setEnabled(False)
            self.broken_off.emit()
