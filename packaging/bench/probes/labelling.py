"""What labelling during training costs the training, and how long the labeller waits for a pair after pressing a key.

In one window on one run of DPO, in turn: nobody labels, somebody labels a pair every 10 s, and so on, and at the end
nobody once more. Each part with labels is held against the mean of the two beside it, so that a machine that becomes
evenly faster or slower meanwhile does not count. So many labels are given that the pairs written ahead are used up once
and written once in every part with labels.

The figure is by the clock, as the person lives it: all that the window, the store and sampling take is in it. Beside it
stands the same by the processor's seconds of the engine's thread alone. It says less, for the window may take a core
that torch's other threads wait for; but where other programs run, what they take is not in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Slot
from PySide6.QtTest import QTest

from bench.probes.figures import say, small, spread
from bench.probes.session import Keys, prepared
from bench.probes.window import application, wait_until
from desktop_rlhf.gui.bridge.collector import Collector
from desktop_rlhf.gui.bridge.engine_thread import Say
from desktop_rlhf.gui.bridge.sampling_ahead import FEWEST_WAITING, PROMPTS_AT_ONCE
from desktop_rlhf.gui.pages.label import LabelPage
from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.workbench.engine import Engine, usual_threads
from desktop_rlhf.workbench.messages import JobProgressed, ModelLoaded, StartRun

JUDGED, EPOCHS = 8, 1000
ROUNDS, LABELS, EVERY_S = 3, PROMPTS_AT_ONCE, 10.0
FEW_ROUNDS, FEW_LABELS, FEW_EVERY_S = 1, 2, 3.0
UNLABELLED_S = 25.0
LATE_S = 60.0  # by which the window may be late before something is wrong


@dataclass(frozen=True)
class Seen:
    """How far a run was: passes over the comparisons, by seconds of the clock and of the engine's thread."""

    passes: float
    clock_s: float
    engine_s: float


@dataclass(frozen=True)
class Part:
    """Passes over the comparisons a minute in one part, by the clock and by the seconds of the engine's thread."""

    labels: bool
    per_minute: float
    per_minute_of_engine: float


class Labeller(QObject):
    """Sees how far the run is, presses keys, and sees when the next pair was painted."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self.keys = Keys()
        self.seen: list[Seen] = []
        self._engine_clock = 0
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
    def passes(self) -> float:
        """Over the comparisons, so far."""
        return self.seen[-1].passes if self.seen else 0.0

    @Slot(object)
    def hear(self, news: object) -> None:
        self.loaded |= isinstance(news, ModelLoaded)
        if isinstance(news, JobProgressed) and news.job_id == "train":
            engine_s = time.clock_gettime(self._engine_clock)
            self.seen.append(Seen(news.share * EPOCHS, time.perf_counter(), engine_s))

    def press(self) -> None:
        """Judge the pair that is shown; whoever still waits for one presses nothing."""
        if self.keys.press(time.perf_counter(), self.page._showing):
            QTest.keyClick(self.page, Qt.Key.Key_1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, partial(self._painted, self.page._showing))
        return False

    def _painted(self, shown: object | None) -> None:
        self.keys.painted(time.perf_counter(), shown)

    def live(self, seconds: float) -> None:
        """Let the run go on for so long by the clock."""
        until = time.perf_counter() + seconds
        wait_until(lambda: time.perf_counter() >= until, seconds + LATE_S)


def part(labeller: Labeller, labels: int, seconds: float) -> Part:
    """Let the run go on for ``seconds`` of the clock, and judge so many pairs, evenly, from the beginning on."""
    first = len(labeller.seen)
    for _ in range(labels):
        labeller.press()
        labeller.live(seconds / labels)
    if not labels:
        labeller.live(seconds)
    began, ended = labeller.seen[first], labeller.seen[-1]
    done = 60 * (ended.passes - began.passes)
    return Part(labels > 0, done / (ended.clock_s - began.clock_s), done / (ended.engine_s - began.engine_s))


def slower(rates: Sequence[float]) -> list[float]:
    """Percent by which every second rate, one with labels, is below the mean of the two beside it."""
    beside = zip(rates[:-1:2], rates[1::2], rates[2::2], strict=True)
    return [round(100 * (1 - labelled / mean((before, after))), 2) for before, labelled, after in beside]


def summary(parts: Sequence[Part]) -> dict[str, Any]:
    """The median of the rounds, each of them, and the same by the engine's seconds."""
    by_clock = slower([one.per_minute for one in parts])
    by_engine = slower([one.per_minute_of_engine for one in parts])
    return {
        "ours": median(by_clock),
        "rounds": by_clock,
        "by_engine": median(by_engine),
        "rounds_by_engine": by_engine,
        "parts": [vars(one) for one in parts],
    }


def main() -> None:
    few = small(__doc__)
    rounds, labels, every_s = (FEW_ROUNDS, FEW_LABELS, FEW_EVERY_S) if few else (ROUNDS, LABELS, EVERY_S)
    unlabelled_s = FEW_EVERY_S if few else UNLABELLED_S
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
        for number in range(2 * rounds + 1):
            # With labels up to where the pairs that were written ahead would be used up once more.
            own = labels * (number % 2)
            parts.append(part(labeller, own, own * every_s or unlabelled_s))
        labeller.keys.end(time.perf_counter())
        labeller.engine.news.disconnect(labeller.hear)  # the clock of the engine's thread ends with it
        labeller.engine.close(60)
        collector.close()

    keys = labeller.keys
    say(
        unit="% slower",
        **summary(parts),
        wait_ms=spread(keys.waits_ms),
        dropped_keys={"nothing_shown": keys.nothing_shown, "too_early": keys.too_early},
    )


if __name__ == "__main__":
    main()
