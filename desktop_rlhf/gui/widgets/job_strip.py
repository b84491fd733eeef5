"""The strip along the bottom: what the engine does, how far it is, and how to pause or stop it."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QWidget

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import Toast, label
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    ModelLoaded,
    ModelLoading,
    News,
)

_ENDINGS = {
    RunStatus.COMPLETED: "finished",
    RunStatus.STOPPED: "stopped",
    RunStatus.FAILED: "failed",
    RunStatus.INTERRUPTED: "interrupted",
}


@dataclass
class _Job:
    title: str
    trains: bool
    stage: str = ""
    share: float = 0.0
    left_s: float | None = None
    paused: bool = False


def time_left(seconds: float | None) -> str:
    """A time left as one says it."""
    if seconds is None:
        return ""
    if seconds < 60:
        return "less than a minute left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"


def _ending(news: JobEnded) -> str:
    """How a job ended. Of an estimate, and of a run that took no step, nothing is kept."""
    kept = news.status is RunStatus.STOPPED and news.adapter_id is not None
    return f"{_ENDINGS[news.status]}{'; what it learned is kept' if kept else ''}"


class JobStrip(QFrame):
    """Shows the training run when there is one, else the job that was taken up last.

    Signals:
        pause, resume, stop: the job id the person asks this of.
    """

    pause = Signal(str)
    resume = Signal(str)
    stop = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "strip")
        self.setObjectName("job-strip")
        self._jobs: dict[str, _Job] = {}
        self._idle = "The engine is starting."
        self._loading = True
        self._title = label(name="job-title", wrap=False)
        self._detail = label(role="hint", name="job-detail", wrap=False)
        self.toast = Toast("strip-toast")
        self._bar = QProgressBar()
        self._bar.setObjectName("job-progress")
        self._bar.setTextVisible(False)
        self._bar.setFixedWidth(200)
        self._bar.setAccessibleName("Progress of the job")
        self._pause = button("Pause", "job-pause")
        self._pause.clicked.connect(self._pause_or_resume)
        self._stop = button("Stop", "job-stop", tip="End it; nothing that is stored is lost")
        self._stop.clicked.connect(self._ask_stop)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 5, 14, 5)
        row.setSpacing(12)
        row.addWidget(self._title)
        row.addWidget(self._detail, 1)
        row.addWidget(self.toast)
        for widget in (self._bar, self._pause, self._stop):
            row.addWidget(widget)
        self.setFixedHeight(46)
        self._draw()

    @property
    def training(self) -> bool:
        """Whether a training run is under way, paused ones included."""
        return any(job.trains for job in self._jobs.values())

    def take_news(self, news: News) -> None:
        """Follow what the engine says."""
        theme.set_role(self._title, "")
        match news:
            case ModelLoading(sentence=sentence):
                self._idle, self._loading = sentence, True
            case ModelLoaded(name=name, parameters=parameters):
                self._idle, self._loading = f"{name} is ready ({parameters / 1e6:,.0f} million parameters).", False
            case JobStarted(job_id=job_id, title=title, run_id=run_id):
                self._jobs[job_id] = _Job(title, trains=run_id is not None)
            case JobProgressed(job_id=job_id, stage=stage, share=share, left_s=left_s) if job_id in self._jobs:
                job = self._jobs[job_id]
                job.stage, job.share, job.left_s = stage, share, left_s
            case JobPaused(job_id=job_id) if job_id in self._jobs:
                self._jobs[job_id].paused = True
            case JobResumed(job_id=job_id) if job_id in self._jobs:
                self._jobs[job_id].paused = False
            case JobEnded(job_id=job_id):
                ended = self._jobs.pop(job_id, None)
                if ended is not None:
                    self._idle = f"{ended.title}: {_ending(news)}."
            case EngineFailed():
                self._jobs.clear()
                self._idle, self._loading = "The engine is not running.", False
                theme.set_role(self._title, "error")
            case _:
                return
        self._draw()

    def _shown(self) -> tuple[str, _Job] | None:
        jobs = list(self._jobs.items())
        return next((item for item in jobs if item[1].trains), jobs[-1] if jobs else None)

    def _draw(self) -> None:
        shown = self._shown()
        self._stop.setVisible(shown is not None)
        self._pause.setVisible(shown is not None and shown[1].trains)
        self._bar.setVisible(shown is not None or self._loading)
        if shown is None:
            self._title.setText(self._idle)
            self._detail.clear()
            self._bar.setRange(0, 0 if self._loading else 100)
            return
        job = shown[1]
        self._title.setText(job.title)
        parts = ["paused" if job.paused else job.stage, "" if job.paused else time_left(job.left_s)]
        others = len(self._jobs) - 1
        parts.append(f"and {others} more" if others else "")
        self._detail.setText(" · ".join(part for part in parts if part))
        self._bar.setRange(0, 1000)
        self._bar.setValue(round(1000 * job.share))
        self._pause.setText("Resume" if job.paused else "Pause")

    def _pause_or_resume(self) -> None:
        shown = self._shown()
        if shown is not None:
            (self.resume if shown[1].paused else self.pause).emit(shown[0])

    def _ask_stop(self) -> None:
        shown = self._shown()
        if shown is not None:
            self.stop.emit(shown[0])
