"""What a run would take, before it is started: a button that asks, and the answer in a sentence."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    EstimateRun,
    JobEnded,
    JobProgressed,
    JobStarted,
    News,
    RunEstimated,
)

TIP = "Find out what it would take: a small part of it is tried for a minute or less, and nothing of that is kept"


class RunEstimate(QObject):
    """The page places ``button`` and ``answer``, and says with which settings to ask.

    Args:
        name: what the widgets' own names begin with.

    Signals:
        wanted: the button was pressed while no estimate was being made.
    """

    wanted = Signal()

    def __init__(self, engine: EngineHandle, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._job_id: str | None = None
        self._why_not = ""
        self.button = button("Estimate", f"{name}-estimate")
        self.button.clicked.connect(self._press)
        self.answer = label(role="hint", name=f"{name}-estimated")
        self.answer.hide()
        self.offer("")

    @property
    def busy(self) -> bool:
        """An estimate was asked for and is not there yet."""
        return self._job_id is not None

    def offer(self, why_not: str) -> None:
        """Let it be asked for, unless there is a reason against it."""
        self._why_not = why_not
        self.button.setText("Stop estimating" if self.busy else "Estimate")
        self.button.setEnabled(self.busy or not why_not)
        self.button.setToolTip("Leave it" if self.busy else why_not or TIP)

    def ask(self, command: EstimateRun) -> None:
        """Have the engine make the estimate."""
        self._job_id = command.job_id
        self._say("The estimate waits for its turn.")
        self.offer(self._why_not)
        self._engine.submit(command)

    def clear(self) -> None:
        """Take the answer away, which is for other settings, and break off one that is being made."""
        if self._job_id is not None:
            self._engine.stop(self._job_id)
        self._end()

    def take_news(self, news: News) -> None:
        """Follow the estimate that was asked for."""
        match news:
            case EngineFailed() if self.busy:
                self._end()  # the window says why
            case JobStarted() | JobProgressed() | RunEstimated() | JobEnded() if news.job_id == self._job_id:
                self._take_job(news)

    def _take_job(self, news: JobStarted | JobProgressed | RunEstimated | JobEnded) -> None:
        match news:
            case JobStarted():
                self._say("Trying a small part of it…")
            case JobProgressed(share=share):
                self._say(f"Trying a small part of it: {100 * share:.0f} %")
            case RunEstimated(estimate=estimate):
                self._end(estimate.sentence, "hint" if estimate.fits else "warn")
            case JobEnded(status=status, reason=reason, next_step=next_step):
                failed = status is RunStatus.FAILED
                self._end(f"{reason} {next_step}".strip() if failed else "", "error")

    def _end(self, sentence: str = "", role: str = "hint") -> None:
        self._job_id = None
        self._say(sentence, role)
        self.offer(self._why_not)

    def _say(self, sentence: str, role: str = "hint") -> None:
        if self.answer.property("role") != role:
            theme.set_role(self.answer, role)
        self.answer.setText(sentence)
        self.answer.setVisible(bool(sentence))

    def _press(self) -> None:
        if self.busy:
            self.clear()
        else:
            self.wanted.emit()
