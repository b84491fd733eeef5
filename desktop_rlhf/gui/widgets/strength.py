"""How much better: a selector of four steps, unset until somebody says."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.comparisons import STRENGTHS

KEYS = {"Q": 1, "W": 2, "E": 3, "R": 4}


class StrengthSelector(QWidget):
    """At most one step is chosen; choosing it again takes it back."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("strength")
        self._steps: dict[int, QPushButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(label("How much better?", role="hint", wrap=False))
        for key, step in KEYS.items():
            word = STRENGTHS[step].removesuffix(" better")
            made = button(f"{key}   {word.capitalize()}", f"strength-{step}", kind="segment", checkable=True)
            made.setToolTip(f"The next choice is {STRENGTHS[step]} (key {key})")
            made.clicked.connect(lambda _=False, step=step: self._clicked(step))
            self._steps[step] = made
            row.addWidget(made)

    @property
    def value(self) -> int | None:
        """1 (barely) to 4 (significantly) better, or None."""
        return next((step for step, made in self._steps.items() if made.isChecked()), None)

    def toggle(self, step: int) -> None:
        """Choose a step, or take it back when it is the chosen one."""
        self._steps[step].click()

    def clear(self) -> None:
        """Say nothing again."""
        for made in self._steps.values():
            made.setChecked(False)

    def _clicked(self, step: int) -> None:
        for other, made in self._steps.items():
            if other != step:
                made.setChecked(False)
