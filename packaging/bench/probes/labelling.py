"""What labelling during training costs the training, and how long the labeller waits for a pair after pressing a key.

In one window on one run of DPO, in turn: nobody labels, somebody labels a pair every 10 s, and both once more. So many
labels are given that the pairs written ahead are used up once and written once in every part of the second kind.

The seconds are those of the processor that the engine's thread used; torch's other threads, which work beside it and
for which it waits, are not in them. On a machine that does nothing else they are those of the clock, which are told
beside them; on a busy one they are nearer than the clock to what labelling takes from training.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Slot
from PySide6.QtTest import QTest

from bench.probes.figures import say, small, spread
from bench.probes.session import prepared
from bench.probes.window import application, wait_until
from desktop_rlhf.gui.bridge.collector import Collector
from desktop_rlhf.gui.bridge.engine_thread import Say
from desktop_rlhf.gui.bridge.sampling_ahead import FEWEST_WAITING, PROMPTS_AT_ONCE
from desktop_rlhf.gui.pages.label import LabelPage
from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.workbench.engine import Engine, usual_threads
from desktop_rlhf.workbench.messages import JobProgressed, ModelLoaded, StartRun

JUDGED, EPOCHS = 8, 500
ROUNDS, LABELS, EVERY_S = 2, PROMPTS_AT_ONCE, 10.0
FEW_ROUNDS, FEW_LABELS, FEW_EVERY_S = 1, 2, 3.0
UNLABELLED_S = 40.0
PATIENCE = 60  # times as long by the clock as on a machine that does nothing else


@dataclass(frozen=True)
class Part:
    """Passes over the comparisons a minute in one part, by the engine's seconds and by the clock's."""

    labels: bool
    per_minute: float
    per_minute_by_clock: float


class Labeller(QObject):
    """Sees how far the run is, presses keys, and sees when the next pair was painted."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self.waits: list[tuple[float, float]] = []  # the engine's seconds, the clock's
        self._engine_clock = 0
        self._seen: list[tuple[float, float, float]] = []  # the same, and the passes that were done by then
        self._pressed: tuple[float, float] | None = None
        self.window = MainWindow(self._make_engine)
        self.window.show()

    def open(self, project: Path) -> None:
        """Open a project with its Label page in front."""
        self.window.open_project(project)
        workspace = self.window.workspace
        assert workspace is not None
        self.engine = workspace.engine
        self.engine.news.connect(self.hear)
        workspace.show_page("label")
        page = workspace.page("label")
        assert isinstance(page, LabelPage)
        self.page = page
        page._prompt.viewport().installEventFilter(self)

    def _make_engine(self, project_path: Path, say: Say) -> Engine:
        """The engine as the window makes it. This is called on its thread."""
        self._engine_clock = time.pthread_getcpuclockid(threading.get_ident())
        return Engine(project_path, say, threads=usual_threads)

    @property
    def now(self) -> tuple[float, float]:
        """The engine's seconds and the clock's."""
        return time.clock_gettime(self._engine_clock), time.perf_counter()

    @property
    def passes(self) -> float:
        """Over the comparisons, so far."""
        return self._seen[-1][2] if self._seen else 0.0

    @Slot(object)
    def hear(self, news: object) -> None:
        self.loaded |= isinstance(news, ModelLoaded)
        if isinstance(news, JobProgressed) and news.job_id == "train":
            self._seen.append((*self.now, news.share * EPOCHS))

    def press(self) -> None:
        """Judge the pair that is shown; whoever still waits for one presses nothing."""
        if self.page._showing is not None and self._pressed is None:
            self._pressed = self.now
            QTest.keyClick(self.page, Qt.Key.Key_1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and self._pressed is not None:
            QTimer.singleShot(0, self.painted)
        return False

    @Slot()
    def painted(self) -> None:
        if self._pressed is not None and self.page._showing is not None:
            self._wait_is_over(self._pressed)

    def _wait_is_over(self, since: tuple[float, float]) -> None:
        engine, clock = self.now
        self.waits.append((engine - since[0], clock - since[1]))
        self._pressed = None

    def part(self, labels: int, seconds: float) -> Part:
        """Let the run go on for ``seconds`` of the engine, and judge so many pairs, evenly, from the beginning on."""
        first, began = len(self._seen), self.now[0]
        for number in range(labels):
            self.press()
            self._live_until(began + seconds * (number + 1) / labels)
        self._live_until(began + seconds)
        if self._pressed is not None:
            self._wait_is_over(self._pressed)
        (engine, clock, passes), (engine_end, clock_end, passes_end) = self._seen[first], self._seen[-1]
        done = 60 * (passes_end - passes)
        return Part(labels > 0, done / (engine_end - engine), done / (clock_end - clock))

    def _live_until(self, moment: float) -> None:
        wait_until(lambda: self.now[0] >= moment, PATIENCE * max(1.0, moment - self.now[0]))


def main() -> None:
    few = small(__doc__)
    rounds, labels, every_s = (FEW_ROUNDS, FEW_LABELS, FEW_EVERY_S) if few else (ROUNDS, LABELS, EVERY_S)
    with application() as (_, folder), prepared(JUDGED, FEWEST_WAITING) as project:
        labeller = Labeller()
        collector = Collector(labeller)
        labeller.window.model_loaded.connect(collector.freeze)
        labeller.open(project)
        wait_until(lambda: labeller.loaded, 600)
        labeller.engine.submit(StartRun("train", "dpo", {"epochs": EPOCHS}))
        # The first pass also computes what the reference says.
        wait_until(lambda: labeller.passes > 1, 1200)
        parts = []
        for _ in range(rounds):
            parts.append(labeller.part(0, every_s if few else UNLABELLED_S))
            # Up to where the pairs that were written ahead would be used up once more.
            parts.append(labeller.part(labels, labels * every_s))
        labeller.engine.close(60)
        collector.close()

    def slower(rate: str) -> float:
        """Percent, the median of the rounds."""
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return round(median(100 * (1 - getattr(on, rate) / getattr(off, rate)) for off, on in pairs), 2)

    say(
        slower("per_minute"),
        "% slower",
        slower_by_clock=slower("per_minute_by_clock"),
        wait_ms=spread([1000 * engine for engine, _ in labeller.waits]),
        wait_ms_by_clock=spread([1000 * clock for _, clock in labeller.waits]),
        parts=[vars(part) for part in parts],
    )


if __name__ == "__main__":
    main()
