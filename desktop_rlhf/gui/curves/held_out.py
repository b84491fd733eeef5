"""How well a reward model agrees with the person, on comparisons it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.charts import ReliabilityChart, ScoreHistogram, Share, ShareBars, SureAndRight
from desktop_rlhf.gui.curves.wording import counted, interval_words, percent
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.comparisons import STRENGTHS
from desktop_rlhf.records.verdicts import Interval

FEW_PAIRS = 30
WHAT = "held-out comparisons"
WIDE_ENOUGH = 720  # pixels, for the bars and the scores side by side


@dataclass(frozen=True)
class HeldOut:
    """The report of a reward-model run, read back.

    Attributes:
        accuracy:    rests on the comparisons: pairs of one ranking hang together.
        longer_wins, shorter_wins: share of the pairs that always choosing the longer, or the shorter, gets right.
        pairs:       that those comparisons make, a ranking several; 0 in the reports of old runs.
        by_strength: (strength or None, agreement), weakest first.
        sureness:    how sure it was and how often right, by bins; empty in the reports of old runs, like what follows.
        ece, ece_by_chance: mean distance of the two, and what chance alone would make of it on as many pairs.
        temperature: what its margins should be divided by, None when it could not be told.
        length_correlation: of score and length, -1 to 1.
    """

    accuracy: Interval
    longer_wins: float
    shorter_wins: float
    scores_chosen: tuple[float, ...]
    scores_rejected: tuple[float, ...]
    pairs: int = 0
    by_strength: tuple[tuple[int | None, Interval], ...] = ()
    sureness: tuple[SureAndRight, ...] = ()
    ece: float | None = None
    ece_by_chance: float = 0.0
    temperature: float | None = None
    length_correlation: float | None = None

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
            found.get("pairs", 0),
            tuple((row["strength"], _interval(row, "accuracy")) for row in found.get("by_strength", ())),
            tuple(SureAndRight(b["confidence"], _interval(b, "agreement")) for b in found.get("reliability", ())),
            found.get("ece"),
            found.get("ece_by_chance", 0.0),
            found.get("temperature"),
            found.get("length_correlation"),
        )

    @property
    def trivial(self) -> tuple[str, float]:
        """The better of the two rules that look at length alone, and the share it gets right."""
        if self.longer_wins >= self.shorter_wins:
            return "longer", self.longer_wins
        return "shorter", self.shorter_wins

    def interval_words(self) -> str:
        """The interval of the agreement with its n, and how many pairs these are where a ranking makes several."""
        pairs = f", which make {counted(self.pairs, 'pair')}" if self.pairs > self.accuracy.n else ""
        return f"{interval_words(self.accuracy, WHAT)}{pairs}"

    def doubt(self) -> str:
        """Why its scores had better not be followed yet; empty where it agrees more often than chance would."""
        accuracy = self.accuracy
        if accuracy.n == 0:
            return (
                "Nothing was measured, so nobody knows how well this reward model agrees with you. Train it to the "
                "end, with something held out."
            )
        if accuracy.high < 0.5:
            return (
                "This reward model orders pairs against you more often than with you. Look for labels given in haste."
            )
        if accuracy.low <= 0.5:
            few = counted(accuracy.n, "held-out comparison")
            return f"{few} cannot tell this reward model from chance. More comparisons are what helps most."
        return ""

    def sentences(self) -> list[str]:
        """What can honestly be said, the most important first."""
        accuracy = self.accuracy
        said = [self.doubt() or "It agrees with you more often than chance would."]
        if accuracy.n == 0:
            return said
        which, trivial = self.trivial
        if accuracy.low > 0.5 and accuracy.value <= trivial:
            said.append(f"But always choosing the {which} completion would do as well ({percent(trivial)}).")
        if accuracy.n < FEW_PAIRS:
            said.append(f"Fewer than {FEW_PAIRS} held-out comparisons: take the figure as a rough one.")
        return said

    def sureness_words(self) -> str:
        """What its calibration means, for someone who never heard of it; empty when it was not measured."""
        if self.ece is None:
            return ""
        points, chance = (counted(round(100 * share), "point") for share in (self.ece, self.ece_by_chance))
        told = f"How sure it is and how often it is right differ by {points} on average (ECE)."
        if self.ece <= 2 * self.ece_by_chance:
            pairs = counted(self.pairs, "pair")
            return f"{told} On {pairs} even a perfect judge of itself would show about {chance}: no sign of a fault."
        if self.temperature is None:
            return told
        way = "surer than it should be" if self.temperature > 1 else "less sure than it could be"
        return f"{told} It is {way}: dividing its margins by {self.temperature:.2g} would fit your choices best."

    def length_words(self) -> str:
        """How score and length go together; empty when it was not measured."""
        if self.length_correlation is None:
            return ""
        sign = "−" if self.length_correlation < 0 else "+"
        strong = abs(self.length_correlation)
        way = "longer" if self.length_correlation >= 0 else "shorter"
        told = "hardly goes with length" if strong < 0.2 else f"is higher for {way} completions"
        return f"Within a comparison its score {told}: correlation {sign}{strong:.2f}."

    def length_warning(self) -> str:
        """Said when a rule that looks at length alone may do as well; otherwise empty."""
        which, trivial = self.trivial
        if self.accuracy.n == 0 or self.accuracy.low > trivial:
            return ""
        beats = "does not beat" if self.accuracy.value <= trivial else "does not clearly beat"
        return (
            f"It {beats} “{which} wins” ({percent(trivial)}), so it may have learnt little but length. "
            "Comparisons of completions of about the same length would tell."
        )


def _interval(row: Mapping[str, Any], name: str) -> Interval:
    return Interval(row[name], row["low"], row["high"], int(row["n"]))


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
        self.interval.setText(held_out.interval_words())
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


class TrustCard(QFrame):
    """How far its scores can be trusted: by strength of preference, by its own sureness, and against length."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self.setObjectName("trust")
        self.by_strength = ShareBars()
        self.by_strength.setObjectName("by-strength")
        self.reliability = ReliabilityChart()
        self.sureness = label(name="sureness")
        self.length = label(name="length-correlation")
        self.warning = label(role="warn", name="length-warning")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(8)
        layout.addWidget(label("How far to trust its scores", "heading"))
        for words in (self.warning, self.length, self.sureness):
            layout.addWidget(words)
        self._strengths = _titled("Agreement by how much better you said one was", self.by_strength)
        self._sureness = _titled("On the dashed line it is right as often as it is sure", self.reliability)
        self._charts = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        self._charts.setSpacing(16)
        self._charts.addWidget(self._strengths, 1)
        self._charts.addWidget(self._sureness, 1)
        layout.addLayout(self._charts)
        self.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        beside = self.width() >= WIDE_ENOUGH
        self._charts.setDirection(QBoxLayout.Direction.LeftToRight if beside else QBoxLayout.Direction.TopToBottom)

    def show_report(self, report: Mapping[str, object]) -> None:
        """Show a run's report; hide when it measured none of this."""
        held_out = HeldOut.read(report)
        self.setVisible(held_out is not None and held_out.accuracy.n > 0 and held_out.ece is not None)
        if held_out is None:
            return
        for words, text in (
            (self.warning, held_out.length_warning()),
            (self.length, held_out.length_words()),
            (self.sureness, held_out.sureness_words()),
        ):
            words.setText(text)
            words.setVisible(bool(text))
        self._strengths.setVisible(any(strength for strength, _ in held_out.by_strength))
        self.by_strength.show_shares(
            [
                Share(
                    f"{STRENGTHS[strength] if strength else 'not said'}, n = {share.n}",
                    share.value,
                    share.low,
                    share.high,
                    strong=True,
                )
                for strength, share in held_out.by_strength
            ]
        )
        self._sureness.setVisible(bool(held_out.sureness))
        self.reliability.show_points(held_out.sureness)


def _titled(words: str, chart: QWidget) -> QWidget:
    frame = QWidget()
    column = QVBoxLayout(frame)
    column.setContentsMargins(0, 4, 0, 0)
    column.addWidget(label(words, "hint"))
    column.addWidget(chart)
    column.addStretch(1)
    return frame
