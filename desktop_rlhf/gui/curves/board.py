"""All the curves of one run, live."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QFileDialog, QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.panel import CurvePanel
from desktop_rlhf.gui.curves.series import Series
from desktop_rlhf.gui.forms.page_frame import discard
from desktop_rlhf.runs.spec import Metric

# Repainting eight panels of a thousand noisy points took 120 to 250 ms on two busy cores, on the thread that takes the
# keys, so it is done at most twice a second.
REDRAW_MS = 500
ORDER = ("reward", "kl", "loss", "entropy", "length", "accuracy", "gradient")
TITLES = {"kl": "KL divergence", "gradient": "Gradient"}
NARROW, WIDE = 680, 1140


def grouped(metrics: Iterable[Metric]) -> list[tuple[str, list[Metric]]]:
    """(title, metrics) of each panel to draw, reward and KL first.

    Metrics of one panel that have different units share no axis: each unit gets a plot, titled by its curves.
    """
    by_panel: dict[str, dict[str, list[Metric]]] = {}
    for metric in metrics:
        by_panel.setdefault(metric.panel, {}).setdefault(metric.unit, []).append(metric)
    rank = {panel: i for i, panel in enumerate(ORDER)}
    plots = []
    for panel in sorted(by_panel, key=lambda name: rank.get(name, len(ORDER))):
        units = by_panel[panel]
        for members in units.values():
            title = TITLES.get(panel, panel.capitalize())
            if len(units) > 1:
                joined = ", ".join(m.title for m in members)
                title = joined[:1].upper() + joined[1:]
            plots.append((title, members))
    return plots


class CurveBoard(QWidget):
    """A grid of panels, one to three across as the width allows.

    Adding a point only stores it. One timer repaints what changed, at most twice a second and only while the board
    is on the screen; what is loaded is painted at once.
    """

    def __init__(self, metrics: Sequence[Metric] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("curve-board")
        self.metrics: tuple[Metric, ...] = ()
        self.panels: list[CurvePanel] = []
        self.redraws = 0
        self._series: dict[str, Series] = {}
        self._columns = 0

        self.smoothing = QSlider(Qt.Orientation.Horizontal)
        self.smoothing.setObjectName("smoothing")
        self.smoothing.setRange(0, 98)
        self.smoothing.setMaximumWidth(160)
        self.smoothing.setAccessibleName("Smoothing of the curves")
        self.smoothing.setToolTip("A moving average over the faint raw curve; at the left end, what was logged")
        self.smoothing.valueChanged.connect(self._smooth)
        caption = QLabel("Smoothing")
        caption.setProperty("role", "hint")
        self._smoothing_words = QLabel("off")
        self._smoothing_words.setProperty("role", "hint")
        self._smoothing_words.setMinimumWidth(34)
        self.status = QLabel()
        self.status.setObjectName("curves-status")
        self.status.setProperty("role", "hint")
        self.status.setWordWrap(True)
        self.export = QPushButton("Save as CSV…")
        self.export.setObjectName("export-curves")
        self.export.setProperty("kind", "quiet")
        self.export.setToolTip("Write every point of every curve to a file")
        self.export.clicked.connect(self._ask_where)

        bar = QHBoxLayout()
        bar.addWidget(caption)
        bar.addWidget(self.smoothing)
        bar.addWidget(self._smoothing_words)
        bar.addWidget(self.status, 1)
        bar.addWidget(self.export)
        self._grid = QGridLayout()
        self._grid.setSpacing(10)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(bar)
        layout.addLayout(self._grid, 1)

        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._redraw)
        self._dirty = False
        self.reading = False
        self.live = True
        self.set_metrics(metrics)

    def set_metrics(self, metrics: Sequence[Metric]) -> None:
        """Draw these curves from now on; what was drawn is forgotten when they are others."""
        if self.metrics == tuple(metrics):
            return
        for panel in self.panels:
            discard(panel)
        self.metrics = tuple(metrics)
        self.panels = [CurvePanel(title, members, self) for title, members in grouped(metrics)]
        self._series = {name: series for panel in self.panels for name, series in panel.series.items()}
        for panel in self.panels:
            panel.hovered.connect(self._hover)
        self._columns = 0
        self._arrange()
        self._smooth(self.smoothing.value())

    def series(self, name: str) -> Series:
        """The stored points of a curve; KeyError when the algorithm draws none of that name."""
        return self._series[name]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Store the values of one step. A name that the algorithm did not declare is not drawn."""
        for name, value in values.items():
            if name in self._series:
                self._series[name].append(step, value)
        self._touch()

    def load(self, curves: Mapping[str, Iterable[tuple[float, float]]]) -> None:
        """Draw stored curves in place of what stood here, as soon as the window has its turn."""
        for name, series in self._series.items():
            series.replace(curves.get(name, ()))
        self._touch(0)

    def load_curve(self, name: str, points: Iterable[tuple[float, float]]) -> None:
        """Draw one stored curve in place of what stood for it; KeyError when the algorithm draws none of that name."""
        self._series[name].replace(points)
        self._touch()

    def set_reading(self, reading: bool) -> None:
        """Say whether more curves are to come; when they are all there they are drawn without a wait."""
        self.reading = reading
        self._touch(0)

    def set_live(self, live: bool) -> None:
        """Say whether more points may come; of a run that ended none do."""
        self.live = live
        self._touch(0)

    def clear(self) -> None:
        self.load({})

    def write_csv(self, path: Path) -> int:
        """Write a row per step and a column per curve; gives the number of rows. OSError when it cannot be written."""
        names = list(self._series)
        rows: dict[float, dict[str, float]] = {}
        for name, series in self._series.items():
            for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
                rows.setdefault(step, {})[name] = value
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *names])
            for step in sorted(rows):
                writer.writerow([f"{step:g}", *(rows[step].get(name, "") for name in names)])
        return len(rows)

    def _ask_where(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the curves", "curves.csv", "Comma-separated values (*.csv)")
        if not chosen:
            return
        try:
            written = self.write_csv(Path(chosen))
        except OSError as error:
            self.status.setText(f"The curves could not be written: {error.strerror}. Choose another place.")
        else:
            self.status.setText(f"{written} steps were written.")

    def _touch(self, within_ms: int = REDRAW_MS) -> None:
        self._dirty = True
        if self.isVisible() and (not self._timer.isActive() or within_ms < self._timer.remainingTime()):
            self._timer.start(within_ms)

    def _redraw(self) -> None:
        if not self._dirty or not self.isVisible():
            return
        self._dirty = False
        self.redraws += 1
        for panel in self.panels:
            panel.redraw()
        empty = not any(len(series) for series in self._series.values())
        waits = "The first points come after the first step." if empty and self.live else ""
        self.status.setText("Reading the curves…" if self.reading else waits)
        self.export.setEnabled(not empty and not self.reading)

    def _smooth(self, value: int) -> None:
        self._smoothing_words.setText(f"{value / 100:.2f}" if value else "off")
        for panel in self.panels:
            panel.set_smoothing(value / 100)
        self._touch()

    def _hover(self, step: float | None) -> None:
        for panel in self.panels:
            panel.show_cursor(step)

    def _arrange(self) -> None:
        columns = 1 if self.width() < NARROW else 2 if self.width() < WIDE else 3
        columns = max(1, min(columns, len(self.panels)))
        if columns == self._columns:
            return
        for column in range(max(self._columns, columns)):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        self._columns = columns
        for i, panel in enumerate(self.panels):
            self._grid.addWidget(panel, i // columns, i % columns)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._dirty:
            self._redraw()
