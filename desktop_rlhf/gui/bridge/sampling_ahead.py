"""Keeps some groups of completions waiting, so that a labeller never waits for the model."""

from __future__ import annotations

import secrets
from uuid import uuid4

from PySide6.QtCore import QObject, Signal

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    EngineFailed,
    JobEnded,
    JobProgressed,
    JobStarted,
    ModelLoaded,
    ModelLoading,
    News,
    PromptPassedOver,
    SampleGroups,
)
from desktop_rlhf.workbench.project import Project

FEWEST_WAITING = 4
PROMPTS_AT_ONCE = 8
NO_CHOICE = "What was written for each prompt always read the same, so there is nothing to choose between."
HOW_TO_DIFFER = "Let more tokens be written, or have another adapter write."


class SamplingAhead(QObject):
    """Asks the engine for completions whenever few wait. One job at a time; a failure holds it until it is asked again.

    Attributes:
        sentence: what goes on, for whoever waits.
        share:    of the job that is done, in [0, 1], None while nothing is known.

    Signals:
        changed: ``sentence``, ``share`` or ``passed_over`` did.
        failed:  a sentence, a next step and a traceback, which may be empty.
    """

    changed = Signal()
    failed = Signal(str, str, str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._engine = engine
        self._job_id: str | None = None
        self._held = False
        self._stopped_by_us = False
        self._passed_over = 0  # prompts, with these settings
        self._ready = 0  # groups, of this job
        self._settings: tuple[int, str | None, Sampler] = (2, None, Sampler())
        self.sentence = "The engine is starting."
        self.share: float | None = None

    @property
    def held(self) -> bool:
        """Whether it waits to be asked again, after a failure or a stop."""
        return self._held

    @property
    def passed_over(self) -> str:
        """For which prompts nothing is there to be judged, and why; empty when there are none."""
        if not self._passed_over:
            return ""
        which = "One prompt was" if self._passed_over == 1 else f"{self._passed_over:,} prompts were"
        return f"{which} passed over, for the completions read the same each time they were drawn."

    def use(self, completions_per_prompt: int, adapter_id: str | None, max_new_tokens: int) -> None:
        """Sample so from now on; a job that samples otherwise is stopped."""
        settings = (completions_per_prompt, adapter_id, Sampler(max_new_tokens=max_new_tokens))
        if settings == self._settings:
            return
        self._settings = settings
        self._passed_over = 0
        self.changed.emit()
        if self._job_id is not None:
            self._stopped_by_us = True
            self._engine.stop(self._job_id)
        else:
            self.ask_again()

    def ask_again(self) -> None:
        """Go on after a failure or a stop."""
        self._held = False
        self.top_up()

    def top_up(self) -> None:
        """Ask for more when few groups of the adapter that is asked for wait."""
        adapter_id = self._settings[1]
        if self._held or self._job_id is not None:
            return
        if self._project.waiting_from(adapter_id, FEWEST_WAITING) >= FEWEST_WAITING:
            return
        prompts = self._project.prompts_to_sample(PROMPTS_AT_ONCE)
        if not prompts:
            return
        count, _, sampler = self._settings
        self._job_id = uuid4().hex
        self._ready = 0
        self._engine.submit(
            SampleGroups(
                job_id=self._job_id,
                prompt_ids=tuple(prompt.id for prompt in prompts),
                completions_per_prompt=count,
                adapter_id=adapter_id,
                sampler=sampler,
                seed=secrets.randbits(31),
            )
        )

    def take_news(self, news: News) -> None:
        """Follow the engine."""
        match news:
            case ModelLoading(sentence=sentence):
                self.sentence, self.share = sentence, None
            case ModelLoaded():
                self.sentence, self.share = "The model is writing…", None
                self.ask_again()
            case JobStarted(job_id=job_id) if job_id == self._job_id:
                self.sentence, self.share = "The model is writing…", 0.0
            case JobProgressed(job_id=job_id, share=share) if job_id == self._job_id:
                self.share = share
            case CompletionsReady(job_id=job_id) if job_id == self._job_id:
                self._ready += 1
            case PromptPassedOver(job_id=job_id) if job_id == self._job_id:
                self._passed_over += 1
            case JobEnded(job_id=job_id) if job_id == self._job_id:
                self._job_id, self.share = None, None
                self._end(news)
            case EngineFailed():
                # The shell says what happened and offers to start the engine again.
                self._job_id, self.share, self._held = None, None, True
                self.sentence = "The engine is not running, so nothing new is written."
            case _:
                return
        self.changed.emit()

    def _end(self, news: JobEnded) -> None:
        if self._stopped_by_us or (news.status is RunStatus.COMPLETED and (self._ready or not self._passed_over)):
            self._stopped_by_us = False
            self.top_up()
            return
        self._held = True
        if news.status is RunStatus.FAILED:
            self.sentence = "Sampling failed."
            self.failed.emit(news.reason, news.next_step, news.traceback)
        elif news.status is RunStatus.COMPLETED:  # it would be so for ever
            self.sentence = f"{NO_CHOICE} {HOW_TO_DIFFER}"
        else:
            self.sentence = "Sampling was stopped."
