"""Garbage is collected on the GUI thread only.

Python's cyclic collector runs in whichever thread allocates most, and would destroy QObjects from the engine's thread.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot

YOUNG_EVERY_MS = 500
FULL_EVERY = 240  # young collections


class Collector(QObject):
    """Turns automatic collection off and does it from a timer instead, until it is closed."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        gc.disable()
        self._since_full = 0
        self._timer = QTimer(self, interval=YOUNG_EVERY_MS)
        self._timer.timeout.connect(self._collect)
        self._timer.start()

    @Slot()
    def freeze(self) -> None:
        """Leave what stands now, the engine's libraries above all, out of every later collection."""
        gc.freeze()

    def close(self) -> None:
        """Hand collection back to Python; call it when no other thread is left."""
        self._timer.stop()
        gc.enable()

    @Slot()
    def _collect(self) -> None:
        self._since_full += 1
        if self._since_full >= FULL_EVERY:
            self._since_full = 0
            gc.collect()
        else:
            gc.collect(1)
