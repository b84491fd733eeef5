"""What a win rate says, and the card that shows it."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.charts import Share, ShareBars
from desktop_rlhf.gui.curves.wording import counted, interval_words, percent
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.verdicts import WinRate, wilson

MOST_WORTH_JUDGING = 1_000


def judgements_needed(share: float) -> int | None:
    """How many judgements at this win rate would leave 50 % outside the interval; None when that is too many."""
    for n in range(1, MOST_WORTH_JUDGING + 1):
        interval = wilson(share * n, n)
        if interval.low > 0.5 or interval.high < 0.5:
            return n
    return None


def verdict_on(rate: WinRate, candidate: str, baseline: str) -> str:
    """What the judgements allow to be said, in one sentence."""
    interval = rate.interval
    if interval.n == 0:
        return "Nothing is judged yet."
    if interval.low > 0.5:
        return f"“{candidate}” is clearly better than “{baseline}” to your eye."
    if interval.high < 0.5:
        return f"“{candidate}” is clearly worse than “{baseline}” to your eye."
    needed = judgements_needed(interval.value)
    if needed is None:
        return "You like both about as much; no sitting of a reasonable length would tell them apart."
    more = counted(max(1, needed - interval.n), "more match", "more matches")
    return f"It cannot be told yet: at this rate, judge about {more}."


class WinRateCard(QFrame):
    """The win rate in large, its interval on a bar with the line at 50 %, and the counts."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self.setObjectName("win-rate")
        self.heading = label(role="heading", name="win-rate-heading")
        self.number = label(role="big-number", name="win-rate-number", wrap=False)
        self.interval = label(role="hint", name="win-rate-interval")
        self.verdict = label(name="win-rate-verdict")
        self.bars = ShareBars()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        for widget in (self.heading, self.number, self.interval, self.verdict, self.bars):
            layout.addWidget(widget)

    def show_rate(self, rate: WinRate, candidate: str, baseline: str) -> None:
        interval = rate.interval
        self.heading.setText(f"How often you preferred “{candidate}” to “{baseline}”")
        self.number.setText(percent(interval.value) if interval.n else "not known")
        wins, losses = counted(rate.wins, "win"), counted(rate.losses, "loss", "losses")
        counts = f"{wins}, {losses}, {counted(rate.ties, 'tie')}; a tie counts half"
        self.interval.setText(f"{interval_words(interval, 'matches')} ({counts})")
        self.verdict.setText(verdict_on(rate, candidate, baseline))
        self.bars.setVisible(interval.n > 0)
        self.bars.show_shares([Share(candidate, interval.value, interval.low, interval.high, strong=True)])
