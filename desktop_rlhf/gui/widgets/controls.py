"""Buttons and choices with a name, a tooltip and a style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QComboBox, QPushButton

Items: TypeAlias = Sequence[tuple[str, object]]


def button(text: str, name: str, *, kind: str = "", tip: str = "", checkable: bool = False) -> QPushButton:
    """A push button; ``kind`` is a kind of the stylesheet."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setCheckable(checkable)
    if kind:
        made.setProperty("kind", kind)
    if tip:
        made.setToolTip(tip)
    return made


def choice(name: str, says: str, items: Items = ()) -> QComboBox:
    """A drop-down of titles with what each stands for; ``says`` is its accessible name."""
    made = QComboBox()
    made.setObjectName(name)
    made.setAccessibleName(says)
    fill(made, items)
    return made


def fill(box: QComboBox, items: Items) -> None:
    """Offer ``items``, keeping what was chosen where it is still there, without a signal."""
    chosen = box.currentData()
    with QSignalBlocker(box):
        box.clear()
        for title, value in items:
            box.addItem(title, value)
        place = next((i for i, (_, value) in enumerate(items) if value == chosen), 0)
        box.setCurrentIndex(place if items else -1)
