"""The study's pictures, drawn without a screen; colours that stay apart for the colour-blind, and shapes besides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

WIDTH, HEIGHT = 900, 540
# The palette of Okabe and Ito (2008).
BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#aa4499", "#e69f00", "#56b4e9"
LOOKS = {
    "dpo": ("DPO", BLUE, "o"),
    "kto": ("KTO", GREEN, "s"),
    "sft": ("SFT on the chosen", ORANGE, "d"),
    "ppo": ("PPO", VERMILION, "t1"),
    "rloo": ("RLOO", PURPLE, "t"),
}


def draw_reward(figures: Mapping[str, Any], path: Path) -> None:
    """Held-out accuracy as a share of the best possible, by number of labels."""
    curves = figures["reward"]
    rows = curves["mean"]
    plot = _Plot("labels", "share of the best possible accuracy (%)")
    places = [math.log2(row["count"]) for row in rows]
    plot.item.getAxis("bottom").setTicks([[(x, str(row["count"])) for x, row in zip(places, rows, strict=True)]])
    plot.level(100, "best possible: ordering by the utility itself", BLACK)
    plot.level(100 * rows[-1]["shorter_wins"] / rows[-1]["best"], "“the shorter one wins”", ORANGE)
    for pooling, beside, title, colour, symbol in (
        ("mean", -0.03, "reads the mean over the tokens (95 % interval)", BLUE, "o"),
        ("last", 0.03, "reads the last token (95 % interval)", GREEN, "s"),
    ):
        found = [row["of_best"] for row in curves[pooling]]
        plot.curve(
            [x + beside for x in places],  # so that the intervals do not hide each other
            [100 * each["value"] for each in found],
            title,
            colour,
            symbol,
            below=[100 * (each["value"] - each["low"]) for each in found],
            above=[100 * (each["high"] - each["value"]) for each in found],
        )
    plot.save(path, "Reward accuracy by number of labels")


def draw_frontier(figures: Mapping[str, Any], path: Path) -> None:
    """Utility of what each policy writes against its KL from the base."""
    found = figures["frontier"]
    plot = _Plot("KL from the base (nats per completion)", "utility (deviations of the base's samples)")
    for name, title, colour in (
        ("utility", "best of n by the utility (KL: upper bound)", BLACK),
        ("reward model", "best of n by the reward model (KL: upper bound)", SKY),
    ):
        rows = found["best_of_n"][name]
        plot.curve(
            [0.0, *(row["kl"] for row in rows)],
            [found["base"], *(row["utility"] for row in rows)],
            title,
            colour,
            None,
            dashed=True,
        )
    for name, rows in found["policies"].items():
        title, colour, symbol = LOOKS[name]
        rows = sorted(rows, key=lambda row: row["kl"])
        errors = [row["utility_error"] for row in rows]
        plot.curve(
            [row["kl"] for row in rows],
            [row["utility"] for row in rows],
            title,
            colour,
            symbol,
            below=errors,
            above=errors,
            beside=[row["kl_error"] for row in rows],
        )
    plot.curve([0.0], [found["base"]], "the base", BLACK, "+")
    plot.save(path, "Utility against KL (bars: one standard error)")


class _Plot:
    """One picture on white with large type."""

    def __init__(self, x_title: str, y_title: str) -> None:
        self._app = QApplication.instance() or QApplication([])
        self.widget = pg.PlotWidget(background="w")
        self.widget.resize(WIDTH, HEIGHT)
        self.item = self.widget.getPlotItem()
        self.item.hideButtons()
        self.item.showGrid(x=True, y=True, alpha=0.15)
        self._legend = pg.LegendItem(labelTextSize="10.5pt", labelTextColor="#222222", colCount=2)
        font = self.widget.font()
        font.setPointSizeF(10.5)
        for side, title in (("bottom", x_title), ("left", y_title)):
            axis = self.item.getAxis(side)
            axis.setPen("#444444")
            axis.setTextPen("#222222")
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickFont=font)
            axis.setLabel(title, **{"font-size": "11.5pt", "color": "#222222"})

    def curve(
        self,
        x: Sequence[float],
        y: Sequence[float],
        title: str,
        colour: str,
        symbol: str | None,
        *,
        below: Sequence[float] | None = None,
        above: Sequence[float] | None = None,
        beside: Sequence[float] | None = None,
        dashed: bool = False,
    ) -> None:
        """Points joined by a line, with bars from ``y - below`` to ``y + above`` and ``beside`` them to both sides."""
        pen = pg.mkPen(colour, width=2, style=Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine)
        places, values = np.array(x, dtype=float), np.array(y, dtype=float)
        if below is not None and above is not None:
            sideways = {} if beside is None else {"left": np.array(beside), "right": np.array(beside)}
            bars = pg.ErrorBarItem(
                x=places, y=values, bottom=np.array(below), top=np.array(above), pen=pg.mkPen(colour, width=1.3),
                **sideways,
            )  # fmt: skip
            self.item.addItem(bars)
        line = self.item.plot(
            places, values, pen=pen, symbol=symbol, symbolSize=10, symbolBrush=colour, symbolPen=colour, antialias=True
        )
        self._legend.addItem(line, title)

    def level(self, y: float, title: str, colour: str) -> None:
        """A dashed line across at ``y``."""
        line = pg.InfiniteLine(y, angle=0, pen=pg.mkPen(colour, width=2, style=Qt.PenStyle.DashLine))
        self.item.addItem(line)
        self._legend.addItem(pg.PlotDataItem(pen=line.pen), title)

    def save(self, path: Path, title: str) -> None:
        """Write a PNG; the legend stands above the data, in room of its own."""
        self.item.setTitle(title, size="13pt", color="#222222")
        self._legend.setParentItem(self.item.getViewBox())
        self._legend.anchor((0, 0), (0, 0), offset=(12, 8))
        self.item.autoRange(padding=0.06)
        self._app.processEvents()
        box = self.item.getViewBox()
        taken = min(0.6, (self._legend.boundingRect().height() + 16) / box.height())
        low, high = box.viewRange()[1]
        box.setYRange(low, low + (high - low) / (1 - taken), padding=0)
        self._app.processEvents()
        if not self.widget.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        self.widget.close()
