"""A line for one number that may be very small."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QWidget


def written(value: float) -> str:
    """``value`` as a person would write it, so that it reads back as the same number: 0.05, 1, 1e-4."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = repr(value)
        return text.removesuffix(".0")
    mantissa, _, exponent = f"{value:.16e}".partition("e")
    for figures in range(17):
        short = f"{float(mantissa):.{figures}f}e{int(exponent)}"
        if float(short) == value:
            return short
    return repr(value)


def tidied(text: str) -> str:
    """What a person wrote, as Python reads it: spaces dropped, a lone decimal comma and a true minus understood."""
    text = text.replace(" ", "").replace("\N{NO-BREAK SPACE}", "").replace("−", "-").replace("×10^", "e")
    return text.replace(",", ".") if text.count(",") == 1 and "." not in text else text


class NumberEdit(QLineEdit):
    """Shows 1e-4 as 1e-4. The arrow keys move the last figure's place: up and down one step of 1, 2, 5, 10."""

    def __init__(self, value: float, parent: QWidget | None = None) -> None:
        super().__init__(written(value), parent)
        self.setMaximumWidth(160)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._walk(up=event.key() == Qt.Key.Key_Up)
            return
        super().keyPressEvent(event)

    def _walk(self, *, up: bool) -> None:
        """To the next number of the row … 1, 2, 5, 10 …; a text that is not a positive number stays."""
        try:
            value = float(tidied(self.text()))
        except ValueError:
            return
        if not 1e-300 < value < 1e300:
            return
        exponent = int(f"{value:e}".partition("e")[2])
        row = [float(f"{figure}e{power}") for power in (exponent - 1, exponent, exponent + 1) for figure in (1, 2, 5)]
        beyond = [n for n in row if n > value] if up else [n for n in reversed(row) if n < value]
        self.setText(written(beyond[0]))
