"""One piece of work off the GUI thread, for what is too long for a slot and no job of the engine."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QThread, Signal, Slot


class _ErrandThread(QThread):
    def __init__(self, work: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # handed to whoever waits for the errand
            self.error = error


class Errand(QObject):
    """Runs ``work`` on a thread of its own, at once.

    Signals:
        done: what was raised, or None.
    """

    done = Signal(object)

    def __init__(self, work: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._thread = _ErrandThread(work, self)
        self._thread.finished.connect(self._finish)
        self._thread.start()

    def wait(self, within_s: float) -> bool:
        """Wait for the end; False when it is not there after ``within_s`` seconds."""
        return self._thread.wait(int(within_s * 1000))

    @Slot()
    def _finish(self) -> None:
        self.done.emit(self._thread.error)
        self.deleteLater()
