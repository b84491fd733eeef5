"""Shares with their intervals, two sets of scores against each other, and sureness against agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.curves.panel import CalmPlot
from desktop_rlhf.gui.curves.wording import percent
from desktop_rlhf.records.verdicts import Interval

ROW_HEIGHT = 34
WIDE_ENOUGH_TO_EXPLAIN = 260  # pixels, for words under the line at 50 %
COUNTS_AT = 1.18  # above the whiskers, which end at 1


@dataclass(frozen=True)
class Share:
    """One bar: ``low`` and ``high`` are its 95 % interval, None when it has none; ``strong`` marks the main one."""

    title: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


class ShareBars(QWidget):
    """Bars from 0 to 100 % with whiskers and a line at 50 %."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.shares: tuple[Share, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_shares(self, shares: Sequence[Share]) -> None:
        self.shares = tuple(shares)
        told = (
            f"{s.title} {percent(s.value)}" + ("" if s.low is None or s.high is None else
            f", between {percent(s.low)} and {percent(s.high)}")
            for s in shares
        )  # fmt: skip
        self.setAccessibleName("; ".join(told))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(360, ROW_HEIGHT * len(self.shares) + 26)

    def minimumSizeHint(self) -> QSize:
        return QSize(220, self.sizeHint().height())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.shares:
            return
        colours = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = self.font()
        font.setPixelSize(13)
        painter.setFont(font)
        metrics = QFontMetrics(font)
        left = max(metrics.horizontalAdvance(s.title) for s in self.shares) + 12
        right = metrics.horizontalAdvance("100 %") + 10
        width = max(40, self.width() - left - right)
        height = ROW_HEIGHT * len(self.shares)

        def x(share: float) -> float:
            return left + share * width

        for i, share in enumerate(self.shares):
            top = i * ROW_HEIGHT
            middle = top + ROW_HEIGHT / 2
            painter.setPen(QColor(colours.text if share.strong else colours.muted))
            upright = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(0, top, left - 12, ROW_HEIGHT), upright | Qt.AlignmentFlag.AlignRight, share.title)
            painter.drawText(QRectF(x(1) + 6, top, right, ROW_HEIGHT), upright, percent(share.value))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colours.raised))
            painter.drawRoundedRect(QRectF(left, middle - 8, width, 16), 3, 3)
            painter.setBrush(QColor(colours.accent if share.strong else colours.line))
            painter.drawRoundedRect(QRectF(left, middle - 8, share.value * width, 16), 3, 3)
            if share.low is not None and share.high is not None:
                painter.setPen(QPen(QColor(colours.text), 2))
                painter.drawLine(int(x(share.low)), int(middle), int(x(share.high)), int(middle))
                for end in (share.low, share.high):
                    painter.drawLine(int(x(end)), int(middle - 6), int(x(end)), int(middle + 6))
        painter.setPen(QPen(QColor(colours.text), 1, Qt.PenStyle.DashLine))
        painter.drawLine(int(x(0.5)), 0, int(x(0.5)), height + 4)
        painter.setPen(QColor(colours.muted))
        for at, align in ((0.0, "AlignLeft"), (0.5, "AlignHCenter"), (1.0, "AlignRight")):
            start = {0.0: x(0), 0.5: x(0.5) - 60, 1.0: x(1) - 120}[at]
            text = "50 %: chance" if at == 0.5 and width >= WIDE_ENOUGH_TO_EXPLAIN else percent(at)
            painter.drawText(QRectF(start, height + 5, 120, 20), getattr(Qt.AlignmentFlag, align), text)


class ScoreHistogram(QFrame):
    """Scores of the chosen above the line and of the rejected below it, in the same bins."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("score-histogram")
        self.plot = CalmPlot()
        self.plot.setMinimumHeight(170)
        self._up = pg.BarGraphItem(x=[0.0], height=[0.0], width=1.0)
        self._down = pg.BarGraphItem(x=[0.0], height=[0.0], width=1.0)
        self.plot.addItem(self._up)
        self.plot.addItem(self._down)
        key = QHBoxLayout()
        for words in ("↑ chosen", "↓ rejected"):
            label = QLabel(words)
            label.setProperty("role", "hint")
            key.addWidget(label)
        key.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(key)
        layout.addWidget(self.plot)
        self._dress()

    def show_scores(self, chosen: Sequence[float], rejected: Sequence[float]) -> None:
        """Draw both sets of scores; those that are not finite are left out of the bins."""
        both = np.array([*chosen, *rejected], dtype=float)
        both = both[np.isfinite(both)]
        if not len(both):
            return
        edges = np.histogram_bin_edges(both, bins=int(np.clip(np.sqrt(len(both)) * 1.5, 6, 30)))
        middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        for item, scores, sign in ((self._up, chosen, 1), (self._down, rejected, -1)):
            kept = np.array([s for s in scores if np.isfinite(s)])
            counts, _ = np.histogram(kept, bins=edges)
            item.setOpts(x=middles, height=sign * counts, width=0.9 * width)
        tallest = max(int(abs(item.opts["height"]).max()) for item in (self._up, self._down))
        ticks = sorted({0, tallest, max(1, tallest // 2)})
        self.plot.getAxis("left").setTicks([[(sign * t, str(t)) for t in ticks for sign in (1, -1)]])
        self.plot.setYRange(-tallest, tallest, padding=0.12)
        mean = [f"{np.mean([s for s in side if np.isfinite(s)] or [np.nan]):.2f}" for side in (chosen, rejected)]
        self.setAccessibleName(f"Scores: chosen {mean[0]} on average, rejected {mean[1]}")

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_down"):
            self._dress()

    def _dress(self) -> None:
        self.plot.dress("pairs", "score")
        for index, item in enumerate((self._up, self._down)):
            colour = QColor(theme.current().curves[index])
            item.setOpts(brush=QBrush(colour), pen=pg.mkPen(theme.current().surface))


@dataclass(frozen=True)
class SureAndRight:
    """One point: how sure a model was, 0.5 to 1, and how often that was right."""

    confidence: float
    agreement: Interval


class ReliabilityChart(QFrame):
    """How often a model is right against how sure it is; on the dashed line both are the same."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("reliability-chart")
        self.points: tuple[SureAndRight, ...] = ()
        self.plot = CalmPlot()
        self.plot.setMinimumHeight(220)
        self.plot.setXRange(0.5, 1, padding=0.1)
        self.plot.setYRange(0, COUNTS_AT, padding=0.06)
        self.plot.getAxis("bottom").setTicks([[(t / 10, percent(t / 10)) for t in range(5, 11)]])
        self.plot.getAxis("left").setTicks([[*((t / 4, percent(t / 4)) for t in range(5)), (COUNTS_AT, "pairs")]])
        self._even = pg.PlotCurveItem([0.5, 1], [0.5, 1])
        self._whiskers = pg.ErrorBarItem(x=np.zeros(1), y=np.zeros(1), beam=0.012)
        self._dots = pg.ScatterPlotItem(symbol="o", size=11)
        for item in (self._even, self._whiskers, self._dots):
            self.plot.addItem(item)
        self._counts: list[pg.TextItem] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)
        self._dress()

    def show_points(self, points: Sequence[SureAndRight]) -> None:
        """Draw the points with their intervals and the number of pairs each rests on."""
        self.points = tuple(points)
        x = np.array([p.confidence for p in points])
        y = np.array([p.agreement.value for p in points])
        low, high = np.array([p.agreement.low for p in points]), np.array([p.agreement.high for p in points])
        self._dots.setData(x, y)
        self._whiskers.setData(x=x, y=y, top=high - y, bottom=y - low)
        for count in self._counts:
            self.plot.removeItem(count)
        self._counts = [pg.TextItem(str(p.agreement.n), anchor=(0.5, 0.5)) for p in points]
        for count, point in zip(self._counts, points, strict=True):
            count.setPos(point.confidence, COUNTS_AT)
            self.plot.addItem(count, ignoreBounds=True)
        told = (f"{percent(p.confidence)} sure, {percent(p.agreement.value)} right, {p.agreement.n}" for p in points)
        self.setAccessibleName("How sure it is and how often it is right, with pairs: " + "; ".join(told))
        self._dress()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_counts"):
            self._dress()

    def _dress(self) -> None:
        colours = theme.current()
        self.plot.dress("you agreed", "how sure it was")
        self._even.setPen(pg.mkPen(colours.muted, width=1, style=Qt.PenStyle.DashLine))
        self._whiskers.setData(pen=pg.mkPen(colours.text, width=1))
        self._dots.setBrush(QColor(colours.curves[0]))
        self._dots.setPen(pg.mkPen(colours.surface))
        font = self.font()
        font.setPixelSize(13)
        for count in self._counts:
            count.setColor(QColor(colours.text))
            count.setFont(font)
