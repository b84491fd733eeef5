"""How well a reward model agrees with the person, on comparisons it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.charts import ScoreHistogram, Share, ShareBars
from desktop_rlhf.gui.curves.wording import interval_words, percent
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.verdicts import Interval

FEW_PAIRS = 30
WHAT = "held-out comparisons"
WIDE_ENOUGH = 720  # pixels, for the bars and the scores side by side


@dataclass(frozen=True)
class HeldOut:
    """The report of a reward-model run, read back.

    Attributes:
        longer_wins, shorter_wins: share of the pairs that always choosing the longer, or the shorter, gets right.
    """

    accuracy: Interval
    longer_wins: float
    shorter_wins: float
    scores_chosen: tuple[float, ...]
    scores_rejected: tuple[float, ...]

    @classmethod
    def read(cls, report: Mapping[str, object]) -> HeldOut | None:
        """None when the run measured nothing, because it failed or was stopped early."""
        found = cast(Mapping[str, Any], report)
        if "held_out_accuracy" not in found:
            return None
        return cls(
            Interval(found["held_out_accuracy"], found["low"], found["high"], int(found["n"])),
            found.get("longer_wins", 0.5),
            found.get("shorter_wins", 0.5),
            tuple(found.get("scores_chosen", ())),
            tuple(found.get("scores_rejected", ())),
        )

    def sentences(self) -> list[str]:
        """What can honestly be said, the most important first."""
        accuracy = self.accuracy
        if accuracy.n == 0:
            return ["Nothing was held out, so nobody knows how well it agrees with you. Label more prompts."]
        said = []
        if accuracy.high < 0.5:
            said.append("It orders pairs against you more often than with you. Look for labels given in haste.")
        elif accuracy.low <= 0.5:
            said.append("On this evidence it is no better than chance. More comparisons are what helps most.")
        else:
            said.append("It agrees with you more often than chance would.")
        trivial = max(self.longer_wins, self.shorter_wins)
        if accuracy.low > 0.5 and accuracy.value <= trivial:
            which = "longer" if self.longer_wins >= self.shorter_wins else "shorter"
            said.append(f"But always choosing the {which} completion would do as well ({percent(trivial)}).")
        if accuracy.n < FEW_PAIRS:
            said.append(f"Fewer than {FEW_PAIRS} held-out comparisons: take the figure as a rough one.")
        return said


class HeldOutCard(QFrame):
    """The accuracy in large, its interval, the trivial baselines beside it, and the scores behind it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self.setObjectName("held-out")
        self.number = label(role="big-number", name="held-out-accuracy", wrap=False)
        self.interval = label(role="hint", name="held-out-interval")
        self.verdict = label(name="held-out-verdict")
        self.bars = ShareBars()
        self.histogram = ScoreHistogram()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(8)
        layout.addWidget(label("Agreement with you on held-out comparisons", "heading"))
        for widget in (self.number, self.interval, self.verdict):
            layout.addWidget(widget)
        self._charts = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        self._charts.setSpacing(16)
        self._charts.addWidget(self.bars, 1)
        self._charts.addWidget(self.histogram, 1)
        layout.addLayout(self._charts)
        self.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        beside = self.width() >= WIDE_ENOUGH
        self._charts.setDirection(QBoxLayout.Direction.LeftToRight if beside else QBoxLayout.Direction.TopToBottom)

    def show_report(self, report: Mapping[str, object]) -> None:
        """Show a run's report; hide when it measured nothing."""
        held_out = HeldOut.read(report)
        self.setVisible(held_out is not None)
        if held_out is None:
            return
        accuracy = held_out.accuracy
        known = accuracy.n > 0
        self.number.setText(percent(accuracy.value) if known else "not known")
        self.interval.setText(interval_words(accuracy, WHAT))
        self.verdict.setText(" ".join(held_out.sentences()))
        self.bars.setVisible(known)
        self.histogram.setVisible(known)
        self.bars.show_shares(
            [
                Share("reward model", accuracy.value, accuracy.low, accuracy.high, strong=True),
                Share("longer wins", held_out.longer_wins),
                Share("shorter wins", held_out.shorter_wins),
            ]
        )
        self.histogram.show_scores(held_out.scores_chosen, held_out.scores_rejected)
