"""Text that people read. What a model or a file says is never taken for markup."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QResizeEvent, QTextLayout, QTextOption
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QSizePolicy, QWidget

LINE_END = "\u2028"  # between the lines of one QTextLayout, which holds a single paragraph


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
        margin = round(self.document().documentMargin())
        lines = self._count_lines(max(1, self.viewport().width() - 2 * margin), self._most_lines)
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + 2 * margin + 2 * self.frameWidth() + 4)

    def _count_lines(self, width: int, most: int) -> int:
        """How many lines the text takes in ``width`` pixels, 1 to ``most``; a word that is wider is broken."""
        layout = QTextLayout(self.toPlainText().replace("\n", LINE_END), self.font())
        option = QTextOption()
        option.setWrapMode(self.wordWrapMode())
        layout.setTextOption(option)
        layout.beginLayout()
        lines = 0
        while lines < most and (line := layout.createLine()).isValid():
            line.setLineWidth(width)
            lines += 1
        layout.endLayout()
        return max(1, lines)


class Fact(ReadingText):
    """A value that stands beside its name: one that is too wide, as a hash is, is broken where the room ends."""

    def __init__(self, text: str, says: str, parent: QWidget | None = None) -> None:
        """``says`` is its accessible name."""
        super().__init__(text, most_lines=12, parent=parent)
        self.setProperty("role", "fact")
        self.setAccessibleName(says)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # a run has dozens of them: too many to tab through
        self.document().setDocumentMargin(0)


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
