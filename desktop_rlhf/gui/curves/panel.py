"""One plot of curves that share a unit, with a legend that reads them out."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPixmapCache, QWheelEvent
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsItem,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.curves.series import BUCKETS, DRAWN_IN_FULL, Series, thinned
from desktop_rlhf.gui.curves.wording import definition, meaning, number
from desktop_rlhf.runs.spec import Metric

DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)
# Qt draws a wide dashed line thirty times slower than a solid one, so it gets fewer points: two for three pixels.
DASHED_IN_FULL, DASHED_BUCKETS = 400, 150
FEW_POINTS = 40
MARKS_SHOWN = 20
# Axes and curves are kept as pictures, so that a cursor that moves over them, or a page that scrolls, draws none of
# them anew. Qt keeps 10 MB by itself; a screen full of panels takes 40 MB at two pixels a point.
KEPT_KB = 65_536


def keep_picture(item: QGraphicsItem) -> None:
    """Have an item drawn from a picture of itself until it changes."""
    QPixmapCache.setCacheLimit(max(QPixmapCache.cacheLimit(), KEPT_KB))
    item.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)


def curve_pen(index: int, *, faint: bool = False) -> QPen:
    """The pen of the panel's curve ``index``: colours and dashes go round at different paces."""
    colours = theme.current().curves
    colour = QColor(colours[index % len(colours)])
    if faint:
        colour.setAlpha(80)
    style = Qt.PenStyle.SolidLine if faint else DASHES[index % len(DASHES)]
    return pg.mkPen(colour, width=1 if faint else 2, style=style)


class Swatch(QWidget):
    """A short piece of a curve's line, for the legend."""

    def __init__(self, index: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._index = index
        self.setFixedSize(28, 14)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(curve_pen(self._index))
        painter.drawLine(0, 7, 28, 7)


class StepAxis(pg.AxisItem):
    """Steps are counted: no tick between two of them."""

    def tickSpacing(self, minimum: float, maximum: float, size: float) -> list[tuple[float, float]]:
        return [level for level in super().tickSpacing(minimum, maximum, size) if level[0] >= 1] or [(1.0, 0.0)]


class CalmPlot(pg.PlotWidget):
    """A plot that leaves the wheel to the page it lies on and cannot be dragged out of view."""

    def __init__(self, bottom: pg.AxisItem | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent, axisItems={"bottom": bottom} if bottom else None)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)
            keep_picture(self.getAxis(side))

    def sizeHint(self) -> QSize:
        return QSize(280, 180)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def dress(self, left: str, bottom: str) -> None:
        """Colours of the theme, and the labels of both axes."""
        colours = theme.current()
        self.setBackground(colours.surface)
        font = QFont(self.font())
        font.setPixelSize(13)
        for side, label in (("left", left), ("bottom", bottom)):
            axis = self.getAxis(side)
            axis.setPen(pg.mkPen(colours.line))
            axis.setTextPen(pg.mkPen(colours.muted))
            axis.setStyle(tickFont=font)
            axis.setLabel(label, **{"font-size": "13px", "color": colours.muted})
            axis.showLabel(bool(label))
        self.showGrid(x=False, y=True, alpha=0.15)


class CurvePanel(QFrame):
    """Curves over steps. Points are only stored; ``redraw`` paints them.

    Signals:
        hovered: the step under the mouse, or None when it left.
    """

    hovered = Signal(object)

    def __init__(self, title: str, metrics: Sequence[Metric], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self.setObjectName(f"panel-{metrics[0].panel}-{metrics[0].name}")
        self.setAccessibleName(f"Curves: {title}")
        self.title = title
        self.metrics = tuple(metrics)
        self.series = {metric.name: Series() for metric in metrics}
        self._smoothing = 0.0
        self._values: dict[str, QLabel] = {}
        self._marks: list[pg.InfiniteLine] = []
        self._marked: tuple[float, ...] = ()
        self._cursor_at: float | None = None

        self._heading = QLabel(title)
        self._heading.setProperty("role", "heading")
        self._at = QLabel()
        self._at.setProperty("role", "hint")
        self.why = QToolButton()
        self.why.setText("?")
        self.why.setObjectName(f"why-{metrics[0].name}")
        self.why.setCheckable(True)
        self.why.setProperty("kind", "quiet")
        self.why.setAccessibleName(f"What the {title} curves mean")
        self.why.setToolTip("What these curves are, and what healthy looks like")
        self.explanation = QLabel("\n".join(map(meaning, metrics)))
        self.explanation.setTextFormat(Qt.TextFormat.PlainText)
        self.explanation.setProperty("role", "hint")
        self.explanation.setWordWrap(True)
        self.explanation.hide()
        self.why.toggled.connect(self.explanation.setVisible)
        self.warning = QLabel()
        self.warning.setProperty("role", "error")
        self.warning.setWordWrap(True)
        self.warning.hide()

        self.plot = CalmPlot(StepAxis("bottom"))
        self.plot.setMinimumHeight(150)
        self._faint: dict[str, pg.PlotDataItem] = {}
        self._lines: dict[str, pg.PlotDataItem] = {}
        for metric in metrics:
            self._faint[metric.name] = self.plot.plot([], [], connect="finite")
            self._lines[metric.name] = self.plot.plot([], [], connect="finite")
            keep_picture(self._faint[metric.name].curve)
            keep_picture(self._lines[metric.name].curve)
        self._cursor = pg.InfiniteLine(angle=90)
        self._cursor.hide()
        self.plot.addItem(self._cursor, ignoreBounds=True)
        self.plot.scene().sigMouseMoved.connect(self._mouse_moved)

        header = QHBoxLayout()
        header.addWidget(self._heading)
        header.addStretch(1)
        header.addWidget(self._at)
        header.addWidget(self.why)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(4)
        layout.addLayout(header)
        layout.addLayout(self._legend())
        layout.addWidget(self.explanation)
        layout.addWidget(self.warning)
        layout.addWidget(self.plot, 1)
        self._dress()

    def _legend(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(0)
        for row, metric in enumerate(self.metrics):
            name = QLabel(metric.title)
            value = QLabel("–")
            value.setObjectName(f"value-{metric.name}")
            for label in (name, value):
                label.setProperty("role", "hint")
                label.setToolTip(definition(metric))
            grid.addWidget(Swatch(row), row, 0)
            grid.addWidget(name, row, 1)
            grid.addWidget(value, row, 2, Qt.AlignmentFlag.AlignRight)
            self._values[metric.name] = value
        grid.setColumnStretch(1, 1)
        return grid

    def set_smoothing(self, smoothing: float) -> None:
        self._smoothing = smoothing
        for series in self.series.values():
            series.set_smoothing(smoothing)

    def redraw(self) -> None:
        """Paint every stored point; a value that is not finite is a gap, a line across and a sentence."""
        sick: list[str] = []
        marks: set[float] = set()
        for index, metric in enumerate(self.metrics):
            series = self.series[metric.name]
            limits = (DASHED_IN_FULL, DASHED_BUCKETS) if index % len(DASHES) else (DRAWN_IN_FULL, BUCKETS)
            self._faint[metric.name].setVisible(bool(self._smoothing))
            if self._smoothing:
                self._faint[metric.name].setData(*thinned(series.steps, series.values))
            line = thinned(series.steps, series.smoothed if self._smoothing else series.values, *limits)
            # A line needs two neighbours: while there are few points, or one between two gaps, show the points too.
            dots = len(series) <= FEW_POINTS
            colour = curve_pen(index).color()
            self._lines[metric.name].setData(
                *line, symbol="o" if dots else None, symbolSize=5, symbolBrush=colour, symbolPen=None
            )
            lost = series.not_finite
            if len(lost):
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                sick.append(f"{metric.title} was not a finite number at step {lost[0]:g}{more}.")
                marks.update(lost[:MARKS_SHOWN].tolist())
        self._mark(tuple(sorted(marks)))
        self.warning.setText(" ".join(sick))
        self.warning.setVisible(bool(sick))
        self._read_out(self._cursor_at)

    def show_cursor(self, step: float | None) -> None:
        """Read the curves out at the step nearest to ``step``; None reads out the last one."""
        self._cursor_at = step
        self._read_out(step)

    def _read_out(self, step: float | None) -> None:
        shown: float | None = None
        for metric in self.metrics:
            series = self.series[metric.name]
            point = series.at(step)
            unit = f" {metric.unit}" if metric.unit else ""
            self._values[metric.name].setText("–" if point is None else f"{number(point[1])}{unit}")
            if point is not None:
                shown = point[0]
        at_cursor = step is not None and shown is not None
        self._cursor.setVisible(at_cursor)
        if at_cursor:
            self._cursor.setValue(shown)
        self._at.setText("" if shown is None else f"step {shown:g}")

    def _mark(self, steps: tuple[float, ...]) -> None:
        if steps == self._marked:
            return
        for mark in self._marks:
            self.plot.removeItem(mark)
        pen = pg.mkPen(theme.current().bad, width=1, style=Qt.PenStyle.DashLine)
        self._marks = [pg.InfiniteLine(pos=step, angle=90, pen=pen) for step in steps]
        for mark in self._marks:
            self.plot.addItem(mark, ignoreBounds=True)
        self._marked = steps

    def _mouse_moved(self, where: QPointF) -> None:
        box = self.plot.getPlotItem().vb
        inside = box.sceneBoundingRect().contains(where)
        self.hovered.emit(box.mapSceneToView(where).x() if inside else None)

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(None)
        super().leaveEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_cursor"):
            self._dress()

    def _dress(self) -> None:
        unit = self.metrics[0].unit
        self.plot.dress(unit, "step")
        for index, metric in enumerate(self.metrics):
            self._lines[metric.name].setPen(curve_pen(index))
            self._faint[metric.name].setPen(curve_pen(index, faint=True))
        self._cursor.setPen(pg.mkPen(theme.current().muted))
        steps, self._marked = self._marked, ()
        self._mark(steps)
        self.redraw()
