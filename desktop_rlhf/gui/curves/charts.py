"""Shares with their intervals, and two sets of scores against each other."""

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

ROW_HEIGHT = 34


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
            text = "50 %: chance" if at == 0.5 else percent(at)
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
