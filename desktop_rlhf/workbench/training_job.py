"""A training run as a job of the engine: it feeds the algorithm, records what it says and writes its one ending."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from typing import cast
from uuid import uuid4

import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.errors import DiskFullError, OutOfMemoryError, SpecError, WorldError
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, Progressed, SampleShown, StepTaken
from desktop_rlhf.runs.spec import AlgorithmSpec, Value, with_settings
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.store.clock import now
from desktop_rlhf.workbench.algorithms import spec_named
from desktop_rlhf.workbench.jobs import Bench, Ending, Job
from desktop_rlhf.workbench.messages import JobProgressed, JobStarted, RunSaid, StartRun
from desktop_rlhf.workbench.provenance import provenance
from desktop_rlhf.workbench.training_data import training_groups, training_judgements

SECONDS_BETWEEN_COMMITS = 0.1
REFUSAL_TAG = "refuse"


def train(bench: Bench, command: StartRun, stop: StopToken) -> Job:
    """Run an algorithm from its row in the store to its one ending there."""
    spec = with_settings(spec_named(command.algorithm), command.settings)
    if command.parent_adapter_id and spec.makes != AdapterKind.POLICY:
        raise SpecError(f"{spec.title} always starts from the base.", "Leave the adapter to start from out.")
    if command.reward_adapter_id and not spec.needs_reward_model:
        raise SpecError(f"{spec.title} uses no reward model.", "Leave it out.")
    if command.parent_adapter_id:
        spec = _in_shape_of(bench, command.parent_adapter_id, spec, command.settings)
    groups = training_groups(bench.store) if spec.needs_comparisons else ()
    judged = training_judgements(bench.store) if spec.needs_judgements else ()
    comparison_ids = tuple(dict.fromkeys(learned.comparison_id for learned in judged or groups))
    run = Run(
        id=uuid4().hex,
        algorithm=spec.name,
        settings=spec.as_settings(),
        parent_adapter_id=command.parent_adapter_id,
        reward_adapter_id=command.reward_adapter_id,
        comparison_ids=comparison_ids,
        provenance=provenance(bench.store.info(), comparison_ids),
        created_at=now(),
    )
    start, reward = command.parent_adapter_id, command.reward_adapter_id
    inputs = TrainingInputs(
        model=bench.model,
        start_path=bench.adapter_path(start) if start else None,
        groups=groups,
        prompts=tuple(p for p in bench.store.prompts.all(Split.TRAIN) if REFUSAL_TAG not in p.tags),
        reward_path=bench.adapter_path(reward) if reward else None,
        output_path=bench.project_path / "adapters" / f"{spec.name}-{run.id[:12]}",
        judged=judged,
    )
    bench.store.runs.add(run)
    yield JobStarted(command.job_id, f"Training: {spec.title}", run.id)

    book = _Book(bench, run.id)
    adapter_id = None
    try:
        for event in resolve(type(spec))(spec, inputs, stop):
            book.write(event)
            if isinstance(event, Progressed):
                yield JobProgressed(command.job_id, event.stage, event.done / event.total, None)
                continue
            if isinstance(event, AdapterSaved):
                kind = AdapterKind(spec.makes)
                adapter_id = _add_adapter(bench, run, event, kind, command.name or _next_name(bench, spec.name))
            yield RunSaid(run.id, event)
        book.flush()
    except BaseException as error:
        # Only what the run itself attached: a sampling job may hold adapters of its own.
        for name in bench.model.attached:
            if name.endswith(inputs.output_path.name):
                bench.model.detach(name)
        explained = explain(error)
        book.end(RunStatus.FAILED, _reason(explained))
        raise explained from error
    book.end(RunStatus.STOPPED if stop.requested else RunStatus.COMPLETED)
    return Ending(run.id, adapter_id)


def _in_shape_of(bench: Bench, parent_id: str, spec: AlgorithmSpec, asked: Mapping[str, Value]) -> AlgorithmSpec:
    """The spec with the rank and alpha of the adapter that is trained on; other ones cannot be asked for."""
    made = bench.store.runs.get(bench.store.adapters.get(parent_id).run_id).settings
    shape = {name: made[name] for name in ("lora_rank", "lora_alpha")}
    for name, value in shape.items():
        if name in asked and str(asked[name]) != str(value):
            raise SpecError(
                f"The adapter to go on from has {name} {value}.", f"Leave {name} out, or start from the base."
            )
    return with_settings(type(spec), spec.as_settings() | cast("dict[str, Value]", shape))


def explain(error: BaseException) -> BaseException:
    """The error for the person where a library ran out of memory or of disk; otherwise ``error`` itself."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in text:
        return OutOfMemoryError(
            "This run needs more memory than there is.",
            "Choose a smaller batch or shorter completions, or close other programs.",
        )
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left on device" in text:
        return DiskFullError("The disk is full.", "Make some space and train again; what was saved before is safe.")
    return error


def _reason(error: BaseException) -> str:
    if isinstance(error, WorldError):
        return error.sentence
    return (
        "It was broken off."
        if isinstance(error, KeyboardInterrupt | GeneratorExit)
        else f"A fault in the program: {error!r}."
    )


class _Book:
    """Records a run's events, at most ten commits a second."""

    def __init__(self, bench: Bench, run_id: str) -> None:
        self._store = bench.store
        self._run_id = run_id
        self._points: list[MetricPoint] = []
        self._samples: list[SampleShown] = []
        self._notes: list[str] = []
        self._report: dict[str, object] = {}
        self._committed_at = 0.0

    def write(self, event: Event) -> None:
        if isinstance(event, StepTaken):
            self._points += [MetricPoint(event.step, name, value) for name, value in event.metrics.items()]
        elif isinstance(event, SampleShown):
            self._samples.append(event)
        elif isinstance(event, Noted):
            self._notes.append(event.sentence)
        elif isinstance(event, AdapterSaved):
            self._report = dict(event.report)
        if time.monotonic() - self._committed_at > SECONDS_BETWEEN_COMMITS:
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


def _add_adapter(bench: Bench, run: Run, saved: AdapterSaved, kind: AdapterKind, name: str) -> str:
    adapter_id = uuid4().hex
    path = f"adapters/{saved.path.replace(chr(92), '/').rsplit('/', 1)[-1]}"
    bench.store.adapters.add(Adapter(adapter_id, name, kind, run.parent_adapter_id, run.id, path, saved.sha256))
    return adapter_id


def _next_name(bench: Bench, algorithm: str) -> str:
    """``dpo 3`` for the third adapter that DPO made here."""
    taken = {adapter.name for adapter in bench.store.adapters.all()}
    number = 1
    while f"{algorithm} {number}" in taken:
        number += 1
    return f"{algorithm} {number}"
