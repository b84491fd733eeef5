"""Reads the curves of a stored run a piece at a time, so that the window lives on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from desktop_rlhf.gui.curves.series import Floats
from desktop_rlhf.workbench.project import Project

# A piece takes 4 ms of the processor. Pieces are queries of their own: a cursor left open would keep what it saw, and
# nothing could be saved over the same connection once the engine had written.
PIECE = 4_000
AT_ONCE = 20_000  # points of a run that is on the screen at once, with nothing else in between


class CurveReader(QObject):
    """Reads one run at a time, the one that was asked for last.

    Signals:
        read: (name, [n, 2] steps and values) of a curve, as soon as the whole of it is there.
        done: every curve was read.
    """

    read = Signal(str, object)
    done = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pieces: Iterator[int] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_on)

    @property
    def busy(self) -> bool:
        """Whether there is more to be read."""
        return self._pieces is not None

    def start(self, project: Project, run_id: str, names: Sequence[str]) -> None:
        """Read these curves and no longer those of before. When there are few points, all is over on return."""
        self._pieces = self._read(project, run_id, names)
        self._read_on(AT_ONCE)

    def stop(self) -> None:
        """Read no more; ``done`` is not said."""
        self._pieces = None
        self._timer.stop()

    @Slot()
    def _go_on(self) -> None:
        self._read_on(PIECE)

    def _read_on(self, points: int) -> None:
        """Read so many points, or a few more, and leave the rest for later."""
        pieces = self._pieces
        while points > 0 and pieces is not None:
            count = next(pieces, None)
            if self._pieces is not pieces:  # who was told of a curve asked for another run
                return
            if count is None:
                self.stop()
                self.done.emit()
                return
            points -= count
        if pieces is not None:
            self._timer.start()

    def _read(self, project: Project, run_id: str, names: Sequence[str]) -> Iterator[int]:
        """Says the number of points of each piece after it was read."""
        for name in names:
            pieces: list[Floats] = []
            points = project.points(run_id, name, most=PIECE)
            while points:
                pieces.append(np.array(points, dtype=float))
                yield len(points)
                points = project.points(run_id, name, after=points[-1][0], most=PIECE)
            if pieces:
                self.read.emit(name, np.concatenate(pieces))
