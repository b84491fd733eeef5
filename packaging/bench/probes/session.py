"""The real program in a process of its own: opened, its model loaded, sampling and training at once, keys pressed.

`python -m bench.probes.session FOLDER SECONDS` is that process. It prints a line when a window was painted, a line when
a pair was, and one with what it measured when the seconds, which count from its start, are over.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.project import Project

JUDGED, WAITING = 48, 300
TICK_MS, KEY_EVERY_S = 16, 1.0
ANSWERS = (
    "Because the air scatters blue light more than red. " * 3,
    "It is blue, I think, and sometimes it is not. " * 3,
)


@contextmanager
def prepared(judged: int = 0, waiting: int = 0, base_model: Path | None = None) -> Iterator[Path]:
    """A project with the starter prompts, and pairs that are judged or wait, in a folder that goes away.

    Args:
        base_model: its folder; None is the starter model.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "project"
        project = Project.create(path, name="Probe", base_model=str(base_model) if base_model else None)
        prompts = project.prompts(Split.TRAIN)
        project.close()
        store = Store.open(path / STORE_FILE)
        with store.transaction():
            for number in range(judged + waiting):
                prompt, group_id = prompts[number % len(prompts)], uuid4().hex
                pair = [
                    Completion(uuid4().hex, prompt.id, group_id, None, text, (), True, Sampler(), k)
                    for k, text in enumerate(ANSWERS)
                ]
                store.completions.add_group(pair, to_label=True)
                if number < judged:
                    ids = (pair[0].id, pair[1].id)
                    store.comparisons.add(Comparison(uuid4().hex, prompt.id, "pairwise", ids, Outcome.RANKED, (1, 2)))
        store.close()
        yield path


def lived(project: Path | None, seconds: float, until: str = "") -> tuple[dict[str, float], dict[str, Any]]:
    """Start the program; gives the seconds after which each line came, by its name, and what each said.

    Under ``processor`` stand the seconds of the processor that the process took: on a busy machine they tell more.

    Args:
        until: the name of the line after which the program may be ended.
    """
    with TemporaryDirectory() as settings:
        environ = os.environ | {"QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": settings}
        began, busy = time.perf_counter(), processor_s()
        command = [sys.executable, "-m", __name__, str(project or ""), str(seconds)]
        after: dict[str, float] = {}
        said: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                name, _, what = line.decode().partition(" ")
                after.setdefault(name, time.perf_counter() - began)
                said.setdefault(name, json.loads(what))
                if name == until:
                    process.kill()
        after["processor"] = processor_s() - busy
        return after, said


def processor_s() -> float:
    """The processor's time that the processes took that this one started and that ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Keys:
    """Keys that judge the pair that is shown, and how long each waited until another one was painted.

    Attributes:
        waits_ms:      of the keys that were pressed, in milliseconds.
        nothing_shown: keys that were not pressed, for there was no pair to judge.
        too_early:     keys that were not pressed, for the one before still waited.
    """

    def __init__(self) -> None:
        self.waits_ms: list[float] = []
        self.nothing_shown = self.too_early = 0
        self._pressed: tuple[float, object] | None = None

    def press(self, now: float, shown: object | None) -> bool:
        """Whether to press one, at ``now`` in seconds, while ``shown`` is on the page."""
        if self._pressed is not None:
            self.too_early += 1
        elif shown is None:
            self.nothing_shown += 1
        else:
            self._pressed = now, shown
            return True
        return False

    def painted(self, now: float, shown: object | None) -> None:
        """The page was painted with ``shown`` on it; the pair that was judged, or none, is not what is waited for."""
        if self._pressed is not None and shown is not None and shown is not self._pressed[1]:
            self.end(now)

    def end(self, now: float) -> None:
        """Nobody waits any longer."""
        if self._pressed is not None:
            self.waits_ms.append(1000 * (now - self._pressed[0]))
            self._pressed = None


def main() -> None:
    began = time.perf_counter()
    from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal, Slot
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    from desktop_rlhf.gui import app as program
    from desktop_rlhf.gui.pages.label import LabelPage
    from desktop_rlhf.gui.window import MainWindow
    from desktop_rlhf.workbench.messages import JobEnded, ModelLoaded, ModelLoading, SampleGroups, StartRun

    def say(name: str, **what: object) -> None:
        print(name, json.dumps(what), flush=True)

    class Watch(QObject):
        """Sees the first paint, then ticks, starts the jobs and presses keys; says at the end what it saw."""

        key = Signal(float)

        def __init__(self, project: Path | None, seconds: float) -> None:
            super().__init__()
            self.project, self.seconds = project, seconds
            self.window: MainWindow | None = None
            self.page: LabelPage | None = None
            self.doing = "the project is opened"
            self.late: list[tuple[float, float, str]] = []
            self.pressed = Keys()
            self.paired = self.over = False
            self.timer = QTimer(self, interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
            self.timer.timeout.connect(self.tick)
            self.due = 0.0
            self.key.connect(self.press)

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint:
                if isinstance(watched, MainWindow) and self.window is None:
                    self.window = watched
                    application.removeEventFilter(self)
                    say("window", torch="torch" in sys.modules)
                    self.start()  # before, there is no window that could be late
                elif self.page is not None:
                    QTimer.singleShot(0, partial(self.after_paint, self.page._showing))
            return False

        def start(self) -> None:
            self.due = time.perf_counter() + TICK_MS / 1000
            self.timer.start()

        @Slot()
        def tick(self) -> None:
            now = time.perf_counter()
            self.late.append((max(0.0, 1000 * (now - self.due)), now - began, self.doing))
            self.due = time.perf_counter() + TICK_MS / 1000
            workspace = self.window.workspace if self.window else None
            if workspace is not None and self.page is None:
                self.doing = "the project is open"
                workspace.engine.news.connect(self.hear)
                page = workspace.page("label")
                assert isinstance(page, LabelPage)
                self.page = page
                page._prompt.viewport().installEventFilter(self)
                threading.Thread(target=self.keys, daemon=True).start()
            if now - began > self.seconds:
                self.end()

        def hear(self, news: object) -> None:
            workspace = self.window.workspace if self.window else None
            if isinstance(news, ModelLoading):
                self.doing = news.sentence
            elif isinstance(news, ModelLoaded) and workspace is not None and self.seconds > 1:
                self.doing = "training and sampling"
                workspace.engine.submit(StartRun("train", "dpo", {"epochs": 50}))
                self.sample()
            elif isinstance(news, JobEnded) and news.job_id == "sample":
                self.sample()

        def sample(self) -> None:
            workspace = self.window.workspace if self.window else None
            assert workspace is not None
            ids = tuple(prompt.id for prompt in workspace.project.prompts_to_sample(64))
            workspace.engine.submit(SampleGroups("sample", ids, 2, None, Sampler(), 1))

        def keys(self) -> None:
            while not self.over:
                time.sleep(KEY_EVERY_S)
                if self.doing == "training and sampling":
                    self.key.emit(time.perf_counter())

        @Slot(float)
        def press(self, at: float) -> None:
            if self.page is not None and self.pressed.press(at, self.page._showing):
                QTest.keyClick(self.page, Qt.Key.Key_1)

        def after_paint(self, shown: object | None) -> None:
            if not self.paired and shown is not None:
                self.paired = True
                say("pair")
            self.pressed.painted(time.perf_counter(), shown)

        def end(self) -> None:
            self.timer.stop()
            self.over = True
            self.pressed.end(time.perf_counter())
            dropped = {"nothing_shown": self.pressed.nothing_shown, "too_early": self.pressed.too_early}
            say("end", late=self.late, key_to_paint=self.pressed.waits_ms, dropped=dropped)
            sys.stdout.flush()
            os._exit(0)

    application = QApplication(sys.argv[:1])
    watch = Watch(Path(sys.argv[1]) if sys.argv[1] else None, float(sys.argv[2]))
    application.installEventFilter(watch)
    program.run(watch.project)


if __name__ == "__main__":
    main()
