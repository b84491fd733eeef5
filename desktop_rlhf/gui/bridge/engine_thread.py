"""The engine's face on the GUI thread."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QObject, QThread, QTimer, Signal, Slot

from desktop_rlhf.gui.bridge.libraries import read_ahead
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.workbench.messages import Command, EngineFailed, ModelLoaded, News

NEWS_EVERY_MS = 50
CLOSE_WITHIN_S = 20.0
CLOSE_WITHIN_S_WHILE_LOADING = 2.0  # an import cannot be interrupted, and there is nothing to save yet


class EngineLike(Protocol):
    """What the thread asks of an engine: all but ``run`` may be called from any thread."""

    def submit(self, command: Command) -> None: ...
    def pause(self, job_id: str) -> None: ...
    def resume(self, job_id: str) -> None: ...
    def stop(self, job_id: str) -> None: ...
    def shutdown(self) -> None: ...
    def run(self) -> None: ...


Say = Callable[[News], None]
MakeEngine = Callable[[Path, Say], EngineLike]


def _make_engine(project_path: Path, say: Say) -> EngineLike:
    read_ahead()
    # Imported here, on the engine's thread: the window is up before the libraries are.
    from desktop_rlhf.workbench.engine import Engine, usual_threads

    return Engine(project_path, say, threads=usual_threads)


class _EngineThread(QThread):
    """Builds an engine and runs it. What is asked before it exists is kept and asked when it does."""

    def __init__(self, project_path: Path, make_engine: MakeEngine, say: Say, parent: QObject) -> None:
        super().__init__(parent)
        self.setObjectName("engine")
        self._project_path = project_path
        self._make_engine = make_engine
        self._say = say
        self._lock = threading.Lock()
        self._engine: EngineLike | None = None
        self._asked: list[Callable[[EngineLike], None]] = []
        self._closing = False

    def ask(self, request: Callable[[EngineLike], None]) -> None:
        with self._lock:
            if self._engine is None:
                self._asked.append(request)
            else:
                request(self._engine)

    def shut_down(self) -> None:
        with self._lock:
            self._closing = True
            if self._engine is not None:
                self._engine.shutdown()

    def run(self) -> None:
        try:
            engine = self._make_engine(self._project_path, self._say)
            with self._lock:
                if self._closing:
                    return
                for request in self._asked:
                    request(engine)
                self._asked.clear()
                self._engine = engine
            engine.run()
        except WorldError as error:
            self._say(EngineFailed(error.sentence, error.next_step))
        except BaseException as error:  # nothing above this frame would report it
            self._say(
                EngineFailed(
                    f"The engine ended with an error of its own: {type(error).__name__}.",
                    "Start it again. If it comes back, copy the report.",
                    traceback.format_exc(),
                )
            )


class EngineHandle(QObject):
    """Runs the engine on a thread of its own and brings its news to the GUI thread.

    Args:
        project_path: the project the engine opens for itself.
        make_engine:  builds the engine, on the engine's thread.

    Signals:
        news:  one News at a time, in the order they were said, gathered every 50 ms.
        ended: the thread is over and every news of it was delivered.
    """

    news = Signal(object)
    ended = Signal()

    def __init__(
        self, project_path: Path, make_engine: MakeEngine = _make_engine, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._project_path = project_path
        self._make_engine = make_engine
        self._said: deque[News] = deque()  # append and popleft are atomic
        self._timer = QTimer(self, interval=NEWS_EVERY_MS)
        self._timer.timeout.connect(self._deliver)
        self._thread = self._new_thread()
        self._loaded = False

    def start(self) -> None:
        """Start the engine; does nothing while it runs. What was asked while none ran is kept for it."""
        if self.running:
            return
        self._renew()
        self._loaded = False
        self._timer.start()
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.isRunning()

    def submit(self, command: Command) -> None:
        """Ask for a job; its news carry the command's ``job_id``."""
        self._ask(lambda engine: engine.submit(command))

    def pause(self, job_id: str) -> None:
        self._ask(lambda engine: engine.pause(job_id))

    def resume(self, job_id: str) -> None:
        self._ask(lambda engine: engine.resume(job_id))

    def stop(self, job_id: str) -> None:
        """End a job at its next check, keeping what it has."""
        self._ask(lambda engine: engine.stop(job_id))

    def shut_down(self) -> None:
        """Ask the engine to save what it has and end; ``ended`` tells when it did, if it was running."""
        if self.running:
            self._thread.shut_down()

    def close(self, within_s: float | None = None) -> bool:
        """Shut down and wait for it. False when the thread is still busy after ``within_s`` seconds.

        None waits long enough for a step to end, or but shortly while the model is not loaded yet.
        """
        self.shut_down()
        if within_s is None:
            within_s = CLOSE_WITHIN_S if self._loaded else CLOSE_WITHIN_S_WHILE_LOADING
        if not self._thread.wait(int(within_s * 1000)):
            return False
        self._deliver()
        self._timer.stop()
        return True

    def _renew(self) -> None:
        """Let a thread that ended be followed by one that may be started, and asked before that."""
        if self._thread.isFinished():
            self._thread.deleteLater()
            self._thread = self._new_thread()

    def _new_thread(self) -> _EngineThread:
        thread = _EngineThread(self._project_path, self._make_engine, self._said.append, self)
        thread.finished.connect(self._finish)
        return thread

    def _ask(self, request: Callable[[EngineLike], None]) -> None:
        self._thread.ask(request)

    @Slot()
    def _deliver(self) -> None:
        while self._said:
            news = self._said.popleft()
            self._loaded |= isinstance(news, ModelLoaded)
            self.news.emit(news)

    @Slot()
    def _finish(self) -> None:
        if self.running:  # started again since
            return
        self._deliver()
        self._timer.stop()
        self._renew()
        self.ended.emit()
