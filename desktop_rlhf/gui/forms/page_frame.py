"""What the pages of runs are framed by: a column that scrolls, cards, and parts that fold away."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui.widgets.text import label

FIELD_WIDTH = 320  # pixels


def scrolling_column(page: QWidget) -> QVBoxLayout:
    """Fill ``page`` with a column that scrolls up and down; gives the column."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    inside = QWidget()
    column = QVBoxLayout(inside)
    column.setContentsMargins(20, 16, 20, 16)
    column.setSpacing(12)
    area.setWidget(inside)
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return column


def card(heading: str = "") -> tuple[QFrame, QVBoxLayout]:
    """A frame with an optional heading, and the column inside it."""
    frame = QFrame()
    frame.setProperty("role", "card")
    column = QVBoxLayout(frame)
    column.setContentsMargins(16, 12, 16, 12)
    column.setSpacing(8)
    if heading:
        column.addWidget(label(heading, "heading", wrap=False))
    return frame, column


def row(*widgets: QWidget, stretch: bool = True) -> QHBoxLayout:
    """Widgets side by side, to the left unless ``stretch`` is False."""
    made = QHBoxLayout()
    made.setSpacing(10)
    for widget in widgets:
        made.addWidget(widget)
    if stretch:
        made.addStretch(1)
    return made


def fields(rows: Sequence[tuple[QLabel, QWidget]]) -> QGridLayout:
    """Labels with their fields under one another, all fields of one width."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(12)
    for i, (words, field) in enumerate(rows):
        words.setBuddy(field)
        field.setFixedWidth(FIELD_WIDTH)
        grid.addWidget(words, i, 0)
        grid.addWidget(field, i, 1)
    grid.setColumnStretch(2, 1)
    return grid


def empty(column: QBoxLayout) -> None:
    """Take every widget out of ``column`` for good."""
    while (item := column.takeAt(0)) is not None:
        discard(item.widget())


def discard(widget: QWidget | None) -> None:
    """Take a widget off the page now and delete it when its events are over."""
    if widget is not None:
        widget.hide()
        widget.setParent(None)
        widget.deleteLater()


class Folded(QWidget):
    """A heading that opens and closes what lies under it; closed at first."""

    def __init__(self, title: str, name: str, *, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.unfold = QToolButton()
        self.unfold.setObjectName(f"{name}-unfold")
        self.unfold.setText(title)
        self.unfold.setCheckable(True)
        self.unfold.setProperty("kind", "quiet")
        self.unfold.setArrowType(Qt.ArrowType.RightArrow)
        self.unfold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.unfold.setToolTip(tip)
        self._inside = QWidget()
        self._inside.setObjectName(name)
        self.content = QVBoxLayout(self._inside)
        self.content.setContentsMargins(0, 4, 0, 4)
        self._inside.hide()
        self.unfold.toggled.connect(self._fold)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.unfold)
        column.addWidget(self._inside)

    def _fold(self, shown: bool) -> None:
        focused = self.window().focusWidget()
        if not shown and focused is not None and self._inside.isAncestorOf(focused):
            self.unfold.setFocus()  # else whatever comes next has it, and the page jumps there
        self._inside.setVisible(shown)
        self.unfold.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
