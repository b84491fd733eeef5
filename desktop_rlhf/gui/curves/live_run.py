"""One run as it goes: how far it is, its curves, its samples, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.board import CurveBoard
from desktop_rlhf.gui.curves.reader import CurveReader
from desktop_rlhf.gui.curves.samples import SampleList
from desktop_rlhf.gui.curves.wording import moment, time_left
from desktop_rlhf.gui.forms.page_frame import card, row
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.runs.events import Event, Noted, SampleShown, StepTaken
from desktop_rlhf.runs.spec import AlgorithmSpec
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    News,
    ResumeRun,
    RunSaid,
)
from desktop_rlhf.workbench.project import Project

ENDINGS = {
    RunStatus.RUNNING: "is running.",
    RunStatus.COMPLETED: "is done; its adapter is stored.",
    RunStatus.STOPPED: "was stopped; what it had learned by then is stored.",
    RunStatus.FAILED: "failed; nothing that was stored before it is lost.",
    RunStatus.INTERRUPTED: "was cut short.",
}
EARLY = (RunStatus.STOPPED, RunStatus.FAILED, RunStatus.INTERRUPTED)


class LiveRun(QWidget):
    """Follows the job it is told of, and shows stored runs.

    Signals:
        ended:   the JobEnded of the job it follows.
        resumes: the id of a stored run that is asked to go on.
    """

    ended = Signal(object)
    resumes = Signal(str)

    def __init__(self, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self.job_id: str | None = None
        self.run_id: str | None = None
        self.paused = False
        self._resumable = False
        self._made_nothing = False  # it ended early and left no adapter
        self._title = ""
        self._stored: tuple[str, RunStatus, str] | None = None  # what is shown and will not change any more
        self._progress = QProgressBar()
        self._progress.setObjectName("run-progress")
        self._progress.setRange(0, 1000)
        self._progress.setTextVisible(False)
        self._progress.setAccessibleName("Progress of the run")
        self.sentence = label(role="heading", name="run-sentence")
        self.detail = label(role="hint", name="run-detail")
        self.notes = label(role="hint", name="run-notes")
        self.pause = button("Pause", "run-pause", tip="Stand still until you resume; labelling goes on")
        self.pause.clicked.connect(self._pause_or_resume)
        self.stop = button("Stop", "run-stop", tip="End at the next step and keep what was learned")
        self.stop.clicked.connect(self._ask_stop)
        self.go_on = button("Resume", "run-resume", tip="Go on from where it ended, as if it had never ended")
        self.go_on.clicked.connect(self._ask_to_go_on)
        self.banner = Banner("run-error")
        self.board = CurveBoard()
        self._reader = CurveReader(self)
        self._reader.read.connect(self.board.load_curve)
        self._reader.done.connect(self._curves_read)
        self._meanwhile: list[StepTaken] = []  # said while the curves that they belong to are read
        self.samples = SampleList()
        self._said, said = card("What it says now")
        said.addWidget(self.samples)

        frame, column = card()
        top = row(self.sentence, stretch=False)
        top.setStretch(0, 1)
        top.addWidget(self.pause)
        top.addWidget(self.stop)
        top.addWidget(self.go_on)
        column.addLayout(top)
        column.addWidget(self._progress)
        column.addWidget(self.detail)
        column.addWidget(self.notes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        for widget in (frame, self.banner, self.board, self._said):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.hide()

    @property
    def busy(self) -> bool:
        """A job was asked for and has no ending yet."""
        return self.job_id is not None

    def begin(self, job_id: str, spec: type[AlgorithmSpec]) -> None:
        """Follow a job that was just submitted."""
        self.run_id = None
        self._clear(spec)
        self._wait(job_id)

    def offer_to_resume(self, project: Project) -> None:
        """Say whether the run that is shown and has ended can go on, and why there is nothing to go on from."""
        self._resumable = self.run_id is not None and project.resumable(self.run_id)
        if self._made_nothing and not self._resumable:
            self._note(f"Nothing was kept to go on from: it {self._why_nothing(project)}.")
        self._controls()

    def _why_nothing(self, project: Project) -> str:
        run_id, names = self.run_id, [metric.name for metric in self.board.metrics]
        stepped = run_id is not None and any(project.points(run_id, name, most=1) for name in names)
        return "left no checkpoint" if stepped else "ended before its first step"

    def resume(self, project: Project, run: Run, spec: type[AlgorithmSpec]) -> None:
        """Have a stored run go on and follow it, with the curves it has."""
        self.show_stored(project, replace(run, status=RunStatus.RUNNING, reason=""), spec)
        job_id = uuid4().hex
        self._wait(job_id)
        self._engine.submit(ResumeRun(job_id, run.id))

    def _wait(self, job_id: str) -> None:
        self.job_id, self._resumable = job_id, False
        self.sentence.setText(f"{self._title} waits for its turn.")
        self._progress.setRange(0, 0)
        self.setFocus()  # the button that was pressed goes out of use, and the focus would walk on from it to Stop
        self._controls()

    def show_stored(self, project: Project, run: Run, spec: type[AlgorithmSpec]) -> None:
        """Show a run as it stands in the store."""
        stored = (run.id, run.status, run.ended_at)
        if stored == self._stored and run.status is not RunStatus.RUNNING:
            self.offer_to_resume(project)
            return
        same, self.run_id = self.run_id == run.id, run.id
        self._clear(spec, keep_curves=same)
        self._stored = stored
        made = any(adapter.run_id == run.id for adapter in project.adapters())
        self._made_nothing = run.status in EARLY and not made
        self.board.set_live(run.status is RunStatus.RUNNING)
        self._reader.start(project, run.id, [metric.name for metric in spec.metrics])
        self.board.set_reading(self._reader.busy)
        samples = project.samples(run.id)
        self.samples.load(samples)
        self._said.setVisible(bool(samples))
        self.sentence.setText(self._ending(run.status))
        self.detail.setText(f"Started {moment(run.created_at)}.")
        for sentence in project.notes(run.id):
            self._note(sentence)
        if run.status is RunStatus.FAILED:
            self.banner.say(run.reason)
        else:
            self._note(run.reason)
        self.offer_to_resume(project)

    def take_news(self, news: News) -> None:
        """Show what is said of this job; of others, nothing."""
        match news:
            case RunSaid(run_id=run_id, event=event) if self.busy and run_id == self.run_id:
                self._take_event(event)
            case EngineFailed() if self.busy:
                self._end(JobEnded(self.job_id or "", RunStatus.FAILED))  # the window says why
            case JobStarted() | JobProgressed() | JobPaused() | JobResumed() | JobEnded() if news.job_id == self.job_id:
                self._take_job(news)

    def _take_job(self, news: JobStarted | JobProgressed | JobPaused | JobResumed | JobEnded) -> None:
        match news:
            case JobStarted(run_id=run_id):
                self.run_id = run_id
                self.sentence.setText(f"{self._title} is running.")
            case JobProgressed(stage=stage, share=share, left_s=left_s):
                self._progress.setRange(0, 1000)
                self._progress.setValue(round(1000 * share))
                left = "" if left_s is None else f", {time_left(left_s)}"
                self.detail.setText(f"{stage[:1].upper()}{stage[1:]}: {100 * share:.0f} %{left}.")
            case JobPaused(reason=reason, next_step=next_step):
                self.paused = True
                self.sentence.setText(f"{self._title} is paused.")
                if reason:
                    self.banner.say(reason, next_step)
            case JobResumed():
                self.paused = False
                self.banner.hide()
                self.sentence.setText(f"{self._title} is running.")
            case JobEnded():
                self._end(news)
                return
        self._controls()

    def _take_event(self, event: Event) -> None:
        match event:
            case StepTaken() if self._reader.busy:
                self._meanwhile.append(event)
            case StepTaken(step=step, metrics=metrics):
                self.board.add(step, metrics)
            case SampleShown():
                self._said.show()
                self.samples.add(event)
            case Noted(sentence=sentence):
                self._note(sentence)

    def _curves_read(self) -> None:
        for event in self._meanwhile:
            self.board.add(event.step, event.metrics)
        self._meanwhile.clear()
        self.board.set_reading(False)

    def _end(self, news: JobEnded) -> None:
        self.job_id = None
        self.run_id = news.run_id or self.run_id
        self.paused = False
        self._made_nothing = news.status in EARLY and news.adapter_id is None
        self.board.set_live(False)
        self.sentence.setText(self._ending(news.status))
        self.detail.setText("")
        if news.status is RunStatus.FAILED and news.reason:
            self.banner.say(news.reason, news.next_step, news.traceback)
        else:
            self._note(news.reason)
        self._controls()
        self.ended.emit(news)

    def _ending(self, status: RunStatus) -> str:
        never_began = status is RunStatus.STOPPED and self._made_nothing
        return f"{self._title} {'was stopped before it began.' if never_began else ENDINGS[status]}"

    def _clear(self, spec: type[AlgorithmSpec], *, keep_curves: bool = False) -> None:
        self._title, self._stored = spec.title, None
        self.paused = self._resumable = self._made_nothing = False
        self.board.set_live(True)
        self._reader.stop()
        self._meanwhile.clear()
        self.board.set_metrics(spec.metrics)
        self.board.set_reading(False)
        if not keep_curves:
            self.board.clear()
        self.samples.load([])
        self._said.hide()
        self.banner.hide()
        self.notes.setText("")
        self.notes.hide()
        self.detail.setText("")
        self.show()

    def _note(self, sentence: str) -> None:
        lines = [line for line in self.notes.text().split("\n") if line]
        if sentence and sentence not in lines:
            self.notes.setText("\n".join([*lines, sentence]))
            self.notes.show()

    def _controls(self) -> None:
        self._progress.setVisible(self.busy)
        self.pause.setVisible(self.busy and self.run_id is not None)
        self.stop.setVisible(self.busy)
        self.pause.setText("Resume" if self.paused else "Pause")
        self.stop.setEnabled(self.busy)
        self.go_on.setVisible(self._resumable)

    def _pause_or_resume(self) -> None:
        if self.job_id is not None:
            (self._engine.resume if self.paused else self._engine.pause)(self.job_id)

    def _ask_to_go_on(self) -> None:
        self.resumes.emit(self.run_id)

    def _ask_stop(self) -> None:
        if self.job_id is not None:
            self._engine.stop(self.job_id)
            self.sentence.setText(f"{self._title} is stopping.")
            self.stop.setEnabled(False)
