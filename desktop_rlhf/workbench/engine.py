"""The engine: one thread that owns the model and every tensor, serves sampling between training steps, and says news.

It knows no Qt: the window runs it on a QThread, the command line on its own thread. Nothing heavy is imported until
``run`` is called, so the window is on screen before.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from desktop_rlhf.adapters.base_models import base_model_folder
from desktop_rlhf.adapters.folders import hash_model_folder
from desktop_rlhf.records.errors import ModelFolderError, WorldError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import (
    Command,
    EngineFailed,
    EstimateRun,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    ModelLoaded,
    ModelLoading,
    News,
    ResumeRun,
    SampleGroups,
    SampleMatches,
    StartRun,
)
from desktop_rlhf.workbench.progress import Pace

LONGEST_IMPORT_S = 600.0
"""For so long a file that is being taken in may keep everybody from writing to the store. A run waits, and goes on."""

FEWEST_WAITING = 2  # groups: one that is judged and one for afterwards
MOST_PIECES = 8
"""Of sampling in a row while fewer wait, before a run has its turn: the labeller goes first, training never stops."""

T = TypeVar("T")

if TYPE_CHECKING:
    from desktop_rlhf.adapters.resident import Role
    from desktop_rlhf.workbench.jobs import Bench, Ending, Job


@dataclass(slots=True)
class _Task:
    """A command with the state it is in."""

    command: Command
    stop: StopToken
    paused: bool = False
    job: Job | None = None
    role: Role | None = None
    run_id: str | None = None
    pace: Pace | None = None
    halted: JobPaused | None = None

    @property
    def is_training(self) -> bool:
        return isinstance(self.command, StartRun | EstimateRun | ResumeRun)


@cache
def usual_threads() -> int:
    """For torch beside a window: as many as it would take itself but one, which is left to the window; of two both.

    The window needs little of a core, and where there are two training is up to half as fast again on both. To be asked
    before the number is set.
    """
    import torch

    own = torch.get_num_threads()
    return own if own <= 2 else own - 1


def _aside(work: Callable[[], T]) -> Future[T]:
    """What ``work`` gives, on a thread of its own, for which nobody waits when the program ends."""
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return found


class Engine:
    """Serves one project.

    Args:
        project_path: the project's folder; it is open elsewhere in this process, which holds its lock.
        say:          called with each piece of news on the engine's thread; it must return at once.
        threads:      for torch, or what tells them once it is imported; None leaves its own choice.
    """

    def __init__(
        self, project_path: Path, say: Callable[[News], None], threads: int | Callable[[], int] | None = None
    ) -> None:
        self._path = project_path
        self._say = say
        self._threads = threads
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stops: dict[str, StopToken] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._tasks: list[_Task] = []
        self._bench: Bench | None = None

    # From any thread

    def submit(self, command: Command) -> None:
        """Queue a job. Jobs that sample are served one after another, and so are runs; the two kinds take turns."""
        task = _Task(command, StopToken())
        with self._lock:
            self._stops[command.job_id] = task.stop
        if self._closing.is_set():
            task.stop.request()
        self._inbox.put(lambda: self._tasks.append(task))

    def pause(self, job_id: str) -> None:
        """Let a run stand still until it is resumed; nothing is lost, sampling goes on."""
        self._inbox.put(lambda: self._set_paused(job_id, True))

    def resume(self, job_id: str) -> None:
        """Let a paused run go on."""
        self._inbox.put(lambda: self._set_paused(job_id, False))

    def stop(self, job_id: str) -> None:
        """Ask a job to end at its next check, keeping what it has."""
        with self._lock:
            stop = self._stops.get(job_id)
        if stop:
            stop.request()
            self._inbox.put(lambda: None)  # wakes an engine whose only run is paused

    def shutdown(self) -> None:
        """Ask every job to end and ``run`` to return."""
        self._closing.set()
        with self._lock:
            for stop in self._stops.values():
                stop.request()
        self._inbox.put(lambda: None)

    # On the engine's thread

    def run(self) -> None:
        """Load the model and serve jobs until ``shutdown``."""
        self._serve(until_idle=False)

    def run_until_idle(self) -> None:
        """Serve what was submitted, on the calling thread, and return when nothing is left to do."""
        self._serve(until_idle=True)

    def _serve(self, until_idle: bool) -> None:
        try:
            if self._bench is None and not self._closing.is_set():
                self._bench = self._load()
            while self._take_in(wait=not until_idle):
                self._turn()
        except WorldError as error:
            self._say(EngineFailed(error.sentence, error.next_step))
        except Exception as error:
            self._say(EngineFailed(f"The engine stopped: {error!r}.", traceback=traceback.format_exc()))
        finally:
            if self._bench is not None and not until_idle:
                self.close()

    def close(self) -> None:
        """Break off what still runs and close the connection to the store; on the thread that ran the engine."""
        if self._bench is not None:
            for task in list(self._tasks):
                if task.job is not None:
                    task.job.close()
                halted = task.halted or JobPaused(task.command.job_id, "It was broken off.")
                self._end(task, RunStatus.INTERRUPTED, halted.reason, halted.next_step)
            self._bench.store.close()
            self._bench = None

    def _load(self) -> Bench:
        self._say(ModelLoading("Starting the engine…"))
        began = time.monotonic()
        store = Store.open(self._path / STORE_FILE, patience_s=LONGEST_IMPORT_S)
        try:
            info = store.info()
            folder = base_model_folder(info.base_model)
            # The files are hashed while the libraries are imported, which takes one core.
            found = _aside(lambda: hash_model_folder(folder))
            import torch

            from desktop_rlhf.adapters.devices import place_for
            from desktop_rlhf.adapters.resident import ResidentModel
            from desktop_rlhf.workbench import training_job
            from desktop_rlhf.workbench.jobs import Bench

            self._explain = training_job.explain
            if threads := self._threads() if callable(self._threads) else self._threads:
                torch.set_num_threads(threads)
            self._say(ModelLoading("Reading the model…"))
            place = place_for(folder)
            model = ResidentModel.load(str(folder), place.dtype, place.device)
            if found.result() != info.base_sha256:
                raise ModelFolderError(
                    f"The base model in “{folder}” is not the one that this project was made with.",
                    "Put the old one back, or make a new project.",
                )
        except BaseException:
            store.close()
            raise
        self._say(ModelLoaded(Path(info.base_model).name, model.parameters, time.monotonic() - began))
        return Bench(self._path, store, model)

    def _take_in(self, wait: bool) -> bool:
        """Carry out what was asked meanwhile; False when it is time to leave. Waits only when nothing is to be done."""
        while True:
            while not self._inbox.empty():
                self._inbox.get()()
            if self._closing.is_set():
                return bool(self._tasks)
            if any(self._first(is_training) for is_training in (False, True)):
                return True
            if not wait:
                return False
            self._inbox.get()()

    def _turn(self) -> None:
        """One piece of work for the first job that samples, several when that is urgent, and one for the first run."""
        for _ in range(MOST_PIECES):
            task = self._first(is_training=False)
            if task is None:
                break
            self._advance(task)
            if not self._urgent(task) or not self._inbox.empty():
                break
        if task := self._first(is_training=True):
            self._advance(task)

    def _urgent(self, task: _Task) -> bool:
        """Whether the labeller is about to wait for what ``task`` writes. Done at once it takes no more of training."""
        assert self._bench is not None
        if not isinstance(task.command, SampleGroups):
            return False
        ahead = self._bench.store.completions.waiting_from(task.command.adapter_id, FEWEST_WAITING)
        return ahead < FEWEST_WAITING

    def _first(self, is_training: bool) -> _Task | None:
        """The job of a kind that can go on now: one that was told to stop, or the first unless it is paused."""
        own = [task for task in self._tasks if task.is_training is is_training]
        stopped = next((task for task in own if task.stop.requested), None)
        return stopped or next((task for task in own[:1] if not task.paused), None)

    def _advance(self, task: _Task) -> None:
        assert self._bench is not None
        model = self._bench.model
        try:
            if task.job is None:
                if task.stop.requested:
                    self._end(task, RunStatus.STOPPED)
                    return
                task.job = self._job(task)
                task.pace = Pace()
                if not task.is_training:
                    self._say(JobStarted(task.command.job_id, "Writing completions"))
            # Another job may have changed which adapter speaks and what may be trained.
            if task.role is not None and model.role != task.role:
                model.take_role(task.role)
            news = next(task.job)
            task.role = model.role
            self._pass_on(task, news)
        except StopIteration as finished:
            ending: Ending = finished.value
            status = RunStatus.STOPPED if task.stop.requested else RunStatus.COMPLETED
            self._end(task, status, adapter_id=ending.adapter_id)
        except WorldError as error:
            self._end(task, RunStatus.FAILED, error.sentence, error.next_step)
        except Exception as error:
            self._fail(task, error)

    def _fail(self, task: _Task, error: Exception) -> None:
        known = self._explain(error)
        if isinstance(known, WorldError):
            self._end(task, RunStatus.FAILED, known.sentence, known.next_step)
        else:
            self._end(task, RunStatus.FAILED, f"A fault in the program: {error!r}.", trace=traceback.format_exc())

    def _job(self, task: _Task) -> Job:
        from desktop_rlhf.workbench import estimate_job, jobs, training_job

        assert self._bench is not None
        command = task.command
        if isinstance(command, SampleGroups):
            return jobs.sample_groups(self._bench, command, task.stop)
        if isinstance(command, SampleMatches):
            return jobs.sample_matches(self._bench, command, task.stop)
        if isinstance(command, EstimateRun):
            return estimate_job.estimate(self._bench, command, task.stop)
        return training_job.train(self._bench, command, task.stop)

    def _pass_on(self, task: _Task, news: News) -> None:
        if isinstance(news, JobStarted):
            task.run_id = news.run_id
        if isinstance(news, JobPaused):  # by itself
            task.paused, task.halted = True, news
            assert task.pace is not None
            task.pace.hold()
        if isinstance(news, JobProgressed):
            assert task.pace is not None
            if task.pace.due(news.share):
                self._say(replace(news, left_s=task.pace.left_s(news.share)))
            return
        self._say(news)

    def _end(
        self,
        task: _Task,
        status: RunStatus,
        reason: str = "",
        next_step: str = "",
        trace: str = "",
        adapter_id: str | None = None,
    ) -> None:
        self._tasks.remove(task)
        with self._lock:
            self._stops.pop(task.command.job_id, None)
        self._say(JobEnded(task.command.job_id, status, reason, next_step, trace, task.run_id, adapter_id))

    def _set_paused(self, job_id: str, paused: bool) -> None:
        for task in self._tasks:
            if task.command.job_id == job_id and task.is_training and task.paused is not paused:
                task.paused, task.halted = paused, None
                if task.pace:
                    task.pace.hold() if paused else task.pace.go_on()
                self._say(JobPaused(job_id) if paused else JobResumed(job_id))
