"""Everything that can be said of completions, beside choosing one: each with its key."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QWidget

from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.strength import StrengthSelector
from desktop_rlhf.records.comparisons import STRENGTHS, Outcome


class AnswerBar(QWidget):
    """Strength and the answers of a pair, or what a ranking needs; the page connects the buttons."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.strength = StrengthSelector()
        self.accept = button("Enter   Accept", "accept", kind="primary", tip="Save the ranking (key Enter)")
        self.back = button("⌫   Take back", "take-back", tip="Lift the last one placed (key Backspace)")
        self.tie_next = button("=   Tie", "tie-next", tip="Put the next one on the same rank (key =)", checkable=True)
        self.tie = button("T   Tie", "tie", tip="Neither is better (key T)")
        self.bad = button("B   Both bad", "both-bad", tip="None of them is good; no order (key B)")
        self.skip = button("S   Skip", "skip", tip="Say nothing of these (key S)")
        self.flag = button("F   Flag", "flag", kind="segment", tip="Mark the next choice (key F)", checkable=True)
        self.undo = button("Z   Undo", "undo", tip="Take the last choice back (key Z)")
        self._left = _row(self.strength, self.accept, self.back, self.tie_next)
        self._right = _row(self.tie, self.bad, self.skip, self.flag, self.undo)
        self._rows = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(6)
        self._rows.addWidget(self._left, 0, Qt.AlignmentFlag.AlignLeft)
        self._rows.addWidget(self._right, 0, Qt.AlignmentFlag.AlignRight)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay()

    def minimumSizeHint(self) -> QSize:
        width = max(self._left.sizeHint().width(), self._right.sizeHint().width())
        return QSize(width, super().minimumSizeHint().height())

    def _lay(self) -> None:
        """Side by side where there is room, else one below the other."""
        fits = self._left.sizeHint().width() + self._right.sizeHint().width() + 12 <= self.width()
        self._rows.setDirection(QBoxLayout.Direction.LeftToRight if fits else QBoxLayout.Direction.TopToBottom)

    def show_for(self, count: int) -> None:
        """Offer what fits ``count`` completions; 0 leaves only the undo."""
        ranks = count > 2
        self.strength.clear()
        self.strength.setVisible(not ranks)
        self.flag.setChecked(False)
        self.bad.setText("B   All bad" if ranks else "B   Both bad")
        for made in (self.tie, self.bad, self.skip, self.flag, self.strength):
            made.setEnabled(count > 0)
        for made in (self.accept, self.back, self.tie_next):
            made.setVisible(ranks)
        self._lay()


def _row(*widgets: QWidget) -> QWidget:
    made = QWidget()
    row = QHBoxLayout(made)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget)
    return made


def what_was_saved(outcome: Outcome, ranks: tuple[int, ...], strength: int | None, flagged: bool) -> str:
    """A judgement in one line."""
    if outcome is Outcome.RANKED and len(ranks) == 2:
        words = f"Saved: {ranks.index(1) + 1} is {STRENGTHS[strength] if strength else 'better'}"
    elif outcome is Outcome.RANKED:
        by_rank = [" = ".join(str(i + 1) for i, r in enumerate(ranks) if r == rank) for rank in sorted(set(ranks))]
        words = f"Saved: {' > '.join(by_rank)}"
    else:
        words = {Outcome.TIE: "Saved: a tie", Outcome.BOTH_BAD: "Saved: all bad", Outcome.SKIPPED: "Skipped"}[outcome]
    return f"{words}{', flagged' if flagged else ''}. Z takes it back."
