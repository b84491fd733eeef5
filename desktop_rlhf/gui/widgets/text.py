"""Text that people read. What a model or a file says is never taken for markup."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRect, QSize, Qt, QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QSizePolicy, QWidget


def label(text: str = "", role: str = "", name: str = "", wrap: bool = True) -> QLabel:
    """A label that shows ``text`` to the letter."""
    made = QLabel()
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setText(text)
    made.setWordWrap(wrap)
    if role:
        made.setProperty("role", role)
    if name:
        made.setObjectName(name)
    return made


class ReadingText(QPlainTextEdit):
    """Plain text at reading size: it can be selected and copied, not changed; long text scrolls.

    With ``most_lines`` it is as high as its text, up to that many lines; without, it fills what room there is.
    """

    def __init__(self, text: str = "", most_lines: int | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._most_lines = most_lines
        self.setProperty("role", "reading")
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        if most_lines is not None:
            self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setPlainText(text)

    def sizeHint(self) -> QSize:
        return QSize(480, super().sizeHint().height())

    def setPlainText(self, text: str) -> None:
        super().setPlainText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        if self._most_lines is None:
            return
        # Measured here: the document's own size lags behind while the widget is being laid out.
        metrics, margin = self.fontMetrics(), round(self.document().documentMargin())
        room = QRect(0, 0, max(1, self.viewport().width() - 2 * margin), 1 << 20)
        needed = metrics.boundingRect(room, Qt.TextFlag.TextWordWrap | Qt.TextFlag.TextExpandTabs, self.toPlainText())
        lines = min(self._most_lines, max(1, round(needed.height() / metrics.lineSpacing())))
        self.setFixedHeight(lines * metrics.lineSpacing() + 2 * margin + 2 * self.frameWidth() + 4)


class Toast(QLabel):
    """One line that says what was just done, and fades from the page by itself."""

    def __init__(self, name: str = "toast", for_ms: int = 8000, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", "good")
        self.setAccessibleName("What was just done")
        self._timer = QTimer(self, singleShot=True, interval=for_ms)
        self._timer.timeout.connect(self.clear)

    def say(self, sentence: str) -> None:
        """Show ``sentence`` for a while."""
        self.setText(sentence)
        self._timer.start()
