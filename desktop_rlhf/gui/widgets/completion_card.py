"""One completion as a labeller sees it: its number, its text, and no word of who wrote it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import ReadingText, label
from desktop_rlhf.records.completions import Completion

WIDEST = 780  # pixels; about eighty characters of reading text


class CompletionCard(QFrame):
    """A completion with the button that chooses it.

    Signals:
        picked: the card's place, counted from 0.
    """

    picked = Signal(int)

    def __init__(self, place: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._place = place
        self.setObjectName(f"card-{place + 1}")
        self.setProperty("role", "card")
        self.setMaximumWidth(WIDEST)
        self.setMinimumHeight(150)
        self.text = ReadingText()
        self.text.setObjectName(f"completion-{place + 1}")
        self.text.setAccessibleName(f"Completion {place + 1}")
        self._button = button("", f"pick-{place + 1}")
        self._button.clicked.connect(lambda: self.picked.emit(self._place))
        self._rank = label(role="heading", name=f"rank-{place + 1}", wrap=False)
        self._note = label(role="hint", wrap=False)
        foot = QHBoxLayout()
        foot.addWidget(self._button)
        foot.addWidget(self._rank)
        foot.addStretch(1)
        foot.addWidget(self._note)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 12)
        column.addWidget(self.text, 1)
        column.addLayout(foot)

    def show_completion(self, completion: Completion, action: str) -> None:
        """Show a completion; ``action`` is what the button does, in a word or two."""
        self.text.setPlainText(completion.text)
        self.text.setPlaceholderText("The model said nothing.")
        self._button.setText(f"{self._place + 1}   {action}")
        self._button.setToolTip(f"{action} (key {self._place + 1})")
        cut = f"cut at {completion.sampler.max_new_tokens} tokens"
        self._note.setText("" if completion.ended else cut)
        self.show_rank("")

    def show_rank(self, rank: str) -> None:
        """Say where the completion stands in a ranking; empty is nowhere yet."""
        self._rank.setText(rank)
        theme.set_role(self, "true" if rank else "false", "chosen")
