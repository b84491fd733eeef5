"""What an empty page shows in its middle."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget


def centred(*widgets: QWidget, width: int = 460) -> QWidget:
    """Widgets one below the other, a little above the middle, in a column of ``width`` pixels."""
    middle = QWidget()
    middle.setFixedWidth(width)
    column = QVBoxLayout(middle)
    column.setSpacing(12)
    for widget in widgets:
        if isinstance(widget, QLabel):
            widget.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(widget)
    across = QHBoxLayout()
    across.addStretch(1)
    across.addWidget(middle)
    across.addStretch(1)
    page = QWidget()
    down = QVBoxLayout(page)
    down.addStretch(2)
    down.addLayout(across)
    down.addStretch(3)
    return page
