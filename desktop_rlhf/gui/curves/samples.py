"""What the policy says as it is trained, newest first."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.wording import number
from desktop_rlhf.gui.forms.page_frame import discard
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.runs.events import SampleShown

KEPT = 20


class SampleList(QWidget):
    """The last completions of a run, shown to the letter."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("samples")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._cards: list[QFrame] = []
        self.empty = label("Nothing was written yet.", "hint")
        self._column.addWidget(self.empty)
        self._column.addStretch(1)

    def __len__(self) -> int:
        return len(self._cards)

    def add(self, shown: SampleShown) -> None:
        """Put one on top; the oldest goes when there are more than are kept."""
        frame = QFrame()
        frame.setProperty("role", "card")
        column = QVBoxLayout(frame)
        column.setContentsMargins(12, 8, 12, 8)
        reward = "" if shown.reward is None else f" · reward {number(shown.reward)}"
        column.addWidget(label(f"Step {shown.step}{reward}", "hint"))
        column.addWidget(label(shown.prompt, "hint"))
        said = label(shown.completion.strip() or "(It wrote nothing.)", name="sample-text")
        said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column.addWidget(said)
        self._cards.insert(0, frame)
        self._column.insertWidget(1, frame)
        for old in self._cards[KEPT:]:
            discard(old)
        del self._cards[KEPT:]
        self.empty.hide()

    def load(self, samples: Iterable[SampleShown]) -> None:
        """Show these in place of what stood here; they come oldest first."""
        for frame in self._cards:
            discard(frame)
        self._cards = []
        self.empty.show()
        for shown in list(samples)[-KEPT:]:
            self.add(shown)
