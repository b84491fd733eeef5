"""An error in place: a sentence and a next step."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.errors import WorldError


class Banner(QFrame):
    """Hidden until something goes wrong.

    Signals:
        retry: the person asks to try again; the button is there when ``retry_text`` was given.
    """

    retry = Signal()

    def __init__(self, name: str = "banner", retry_text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setProperty("role", "banner")
        self._report = ""
        self._sentence = label(role="error", name=f"{name}-sentence")
        self._next_step = label(name=f"{name}-next-step")
        self._retry = button(retry_text, f"{name}-retry")
        self._retry.clicked.connect(self._try_again)
        self._copy = button("Copy report", f"{name}-copy")
        self._copy.clicked.connect(self._copy_report)
        dismiss = button("Dismiss", f"{name}-dismiss")
        dismiss.clicked.connect(self.hide)

        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._sentence)
        words.addWidget(self._next_step)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 10, 10, 10)
        row.addLayout(words, 1)
        for action in (self._retry, self._copy, dismiss):
            row.addWidget(action)
        self._retry.setVisible(bool(retry_text))
        self.hide()

    def show_error(self, error: WorldError) -> None:
        """Show an error of the world."""
        self.say(error.sentence, error.next_step)

    def say(self, sentence: str, next_step: str = "", report: str = "") -> None:
        """Show a sentence and a next step; ``report`` is what the copy button copies, when there is one."""
        self._report = report
        self._sentence.setText(sentence)
        self._next_step.setText(next_step)
        self._next_step.setVisible(bool(next_step))
        self._copy.setVisible(bool(report))
        self.show()

    @property
    def text(self) -> str:
        """What it says, for assistive tools and tests."""
        return f"{self._sentence.text()} {self._next_step.text()}".strip()

    def _try_again(self) -> None:
        self.hide()
        self.retry.emit()

    def _copy_report(self) -> None:
        QGuiApplication.clipboard().setText(f"{self.text}\n\n{self._report}")
