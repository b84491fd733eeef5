"""The program's icons, drawn in the colours of the theme."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from desktop_rlhf.settings import resources_path

_SIZES = (24, 48)


def app_icon() -> QIcon:
    """The program's own icon, in its own colours."""
    return QIcon(str(resources_path() / "icons" / "app.svg"))


def icon(name: str, colour: str, chosen_colour: str) -> QIcon:
    """A one-colour icon from ``resources/icons/NAME.svg``, in ``chosen_colour`` where its button is checked."""
    drawing = QSvgRenderer(str(resources_path() / "icons" / f"{name}.svg"))
    made = QIcon()
    for state, hue in ((QIcon.State.Off, colour), (QIcon.State.On, chosen_colour)):
        for size in _SIZES:
            made.addPixmap(_tinted(drawing, size, hue), QIcon.Mode.Normal, state)
    return made


def _tinted(drawing: QSvgRenderer, size: int, colour: str) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    drawing.render(painter, QRectF(0, 0, size, size))
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceIn)
    painter.fillRect(pixmap.rect(), QColor(colour))
    painter.end()
    return pixmap
