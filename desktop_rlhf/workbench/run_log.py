"""A run's events as they go into the store."""

from __future__ import annotations

import time

from desktop_rlhf.records.errors import DiskFullError
from desktop_rlhf.records.runs import MetricPoint, RunStatus
from desktop_rlhf.runs.events import AdapterSaved, Checkpointing, Event, Halted, Noted, SampleShown, StepTaken
from desktop_rlhf.store.store import Store

SECONDS_BETWEEN_COMMITS = 0.1


class RunLog:
    """Records a run's events, at most ten commits a second."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._points: list[MetricPoint] = []
        self._samples: list[SampleShown] = []
        self._notes: list[str] = []
        self._report: dict[str, object] = {}
        # A run that goes on says again what it said before it came to where it was.
        self._said: set[object] = {*store.runs.notes(run_id), *(s.step for s in store.runs.samples(run_id))}
        self._committed_at = 0.0

    def write(self, event: Event) -> None:
        if isinstance(event, StepTaken):
            self._points += [MetricPoint(event.step, name, value) for name, value in event.metrics.items()]
        elif isinstance(event, SampleShown):
            if event.step not in self._said:
                self._samples.append(event)
        elif isinstance(event, Noted | Halted):
            sentence = event.sentence if isinstance(event, Noted) else event.reason
            if sentence not in self._said:
                self._notes.append(sentence)
        elif isinstance(event, AdapterSaved):
            self._report = dict(event.report)
        if isinstance(event, Checkpointing) or time.monotonic() - self._committed_at > SECONDS_BETWEEN_COMMITS:
            self.flush()

    def flush(self) -> None:
        if self._points or self._samples or self._notes:
            self._store.runs.record(self._run_id, self._points, self._samples, self._notes)
            self._points, self._samples, self._notes = [], [], []
        self._committed_at = time.monotonic()

    def end(self, status: RunStatus, reason: str = "") -> None:
        """What was said is kept, whatever the ending. A disk too full even for this leaves the run to be found
        interrupted when the project is opened again."""
        try:
            self.flush()
            self._store.runs.end(self._run_id, status, reason, self._report)
        except DiskFullError:
            if status is not RunStatus.FAILED:
                raise
