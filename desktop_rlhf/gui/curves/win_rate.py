"""What a win rate says, the card that shows it, and how one goes on from there."""

from __future__ import annotations

from math import ceil

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.charts import Share, ShareBars
from desktop_rlhf.gui.curves.wording import counted, interval_words, percent
from desktop_rlhf.gui.forms.page_frame import row
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.spin_boxes import BriefSpinBox
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.verdicts import MOST_WORTH_JUDGING, WinRate, judgements_to_call_even, judgements_to_tell

FEW = 20  # matches, of which an interval promises more than so few keep
USUAL_MORE = 20


def verdict_on(rate: WinRate, candidate: str, baseline: str, left: int) -> str:
    """What the judgements allow to be said. ``left`` is how many more matches there can be."""
    decided = rate.decided
    if rate.interval.n == 0:
        return "Nothing is judged yet."
    if decided.tells:
        better = "better" if decided.value > 0.5 else "worse"
        if decided.n < FEW:
            few = counted(decided.n, "match is", "matches are")
            return f"“{candidate}” looks {better} than “{baseline}” to your eye, but {few} few{_besides(rate)}."
        where = f" where you saw a difference: in {decided.n:,} matches{_besides(rate)}" if rate.ties else ""
        return f"“{candidate}” is clearly {better} than “{baseline}” to your eye{where}."
    if rate.even:
        return "You like both about as much: the win rate lies near 50 %, and its interval too."
    return f"Too few to tell: the true win rate may lie on either side of 50 %. {_what_would_tell(rate, left)}"


def more_to_tell(rate: WinRate) -> int | None:
    """About how many more judgements at this rate, and with as many ties, would tell the two apart, or call them even.

    None when it is told already, when nothing is judged, and when that would be too many.
    """
    decided, interval = rate.decided, rate.interval
    if interval.n == 0 or decided.tells or rate.even:
        return None
    needed = _to_tell(rate) or judgements_to_call_even(interval.value)
    return needed and _roughly(max(1, needed - interval.n))


def _to_tell(rate: WinRate) -> int | None:
    """How many judgements would tell the two apart, ties among them."""
    decided = rate.decided
    needed = judgements_to_tell(decided.value) if decided.n else None
    with_ties = needed and ceil(needed * rate.interval.n / decided.n)
    return with_ties if with_ties and with_ties <= MOST_WORTH_JUDGING else None


def _besides(rate: WinRate) -> str:
    return f", besides {counted(rate.ties, 'tie')}" if rate.ties else ""


def _what_would_tell(rate: WinRate, left: int) -> str:
    more = more_to_tell(rate)
    if more is None:
        return "No number worth judging would tell at this rate."
    told = "tell" if _to_tell(rate) else "show that you like both about as much"
    limit = "" if more <= left else f"; there are prompts for {left or 'no'} more"
    return f"At this rate about {counted(more, 'more match', 'more matches')} would {told}{limit}."


def _roughly(count: int) -> int:
    """Up to the next ten, or fifty where it is many: at another rate it would be another number anyway."""
    step = 1 if count < 10 else 10 if count < 200 else 50
    return -(-count // step) * step


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

    def show_rate(self, rate: WinRate, candidate: str, baseline: str, left: int) -> None:
        """``left`` is how many more matches there can be."""
        interval = rate.interval
        self.heading.setText(f"How often you preferred “{candidate}” to “{baseline}”")
        self.number.setText(percent(interval.value) if interval.n else "not known")
        wins, losses = counted(rate.wins, "win"), counted(rate.losses, "loss", "losses")
        same = f", {rate.same} of them where both wrote the same" if rate.same else ""
        counts = f"{wins}, {losses}, {counted(rate.ties, 'tie')}{same}; a tie counts half"
        self.interval.setText(f"{interval_words(interval, 'matches')} ({counts})")
        self.verdict.setText(verdict_on(rate, candidate, baseline, left))
        self.bars.setVisible(interval.n > 0)
        self.bars.show_shares([Share(candidate, interval.value, interval.low, interval.high, strong=True)])


class MoreMatches(QWidget):
    """How many matches to add to those that are judged, or where prompts for more come from.

    Signals:
        wanted:  so many more matches.
        prompts: held-out prompts are to be imported.
    """

    wanted = Signal(int)
    prompts = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.count = BriefSpinBox()
        self.count.setObjectName("compare-more-count")
        self.count.setAccessibleName("Matches to add")
        self.count.setFixedWidth(90)
        self.add = button("Judge more", "compare-more", kind="primary")
        self.add.setToolTip("Matches of the same two, on held-out prompts that had none yet")
        self.add.clicked.connect(lambda: self.wanted.emit(self.count.value()))
        self.to_prompts = button("Import prompts", "compare-more-prompts")
        self.to_prompts.clicked.connect(self.prompts)
        self.hint = label(role="hint", name="compare-more-hint")
        self.count.done.connect(self.add.setFocus)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row(self.add, self.count, self.to_prompts))
        column.addWidget(self.hint)

    def offer(self, rate: WinRate, left: int) -> None:
        """Propose as many as would tell, and at most ``left``."""
        self.add.setVisible(left > 0)
        self.count.setVisible(left > 0)
        self.to_prompts.setVisible(left == 0)
        self.count.setRange(min(1, left), left)
        self.count.setValue(more_to_tell(rate) or USUAL_MORE)
        if left:
            self.hint.setText(
                f"What you judged keeps counting. {counted(left, 'held-out prompt has', 'held-out prompts have')} no "
                "match yet. Decide how many and judge them all: who stops when the number pleases is misled by chance."
            )
        else:
            self.hint.setText(
                "Every held-out prompt has its match. For more matches import more prompts as held-out ones."
            )
