"""What a run will take, found by running its own algorithm on a small part of its data; nothing of it is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from uuid import uuid4

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.events import AdapterSaved, Event, Planned, Progressed
from desktop_rlhf.runs.spec import Value, with_settings
from desktop_rlhf.runs.stop import StoppedError, StopToken
from desktop_rlhf.workbench.algorithms import spec_named
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.jobs import Bench, Ending, Job
from desktop_rlhf.workbench.memory import free_mb, has_its_own, held_mb, peak_mb, reset_peak
from desktop_rlhf.workbench.messages import EstimateRun, JobProgressed, JobStarted, RunEstimated
from desktop_rlhf.workbench.run_plan import begun, inputs_of
from desktop_rlhf.workbench.sample_of_data import Whole
from desktop_rlhf.workbench.training_job import explained, let_go

ROUNDS = {"epochs": 1, "updates": 2}
"""Settings that say how often the same is done again, and how often it is when it is tried. What an update writes is as
long as chance has it, so two of them are tried."""

HELD_OUT = {"held_out_share": 0.3}
"""Settings that say how much is only measured, and how much at least when it is tried. One or two examples take longer
each than many that go through the model together."""

Clock = Callable[[], float]


def estimate(bench: Bench, command: EstimateRun, stop: StopToken, clock: Clock = time.perf_counter) -> Job:
    """Tell what a run with these settings would take; the store, the adapters and the model's role stay as they are.

    The largest step is tried first, for the memory; then a part of the data is gone through, and that counts. Before it
    the part is gone through once to warm up, where the largest step is less than that.

    Args:
        clock: gives seconds.

    Raises:
        WorldError: the run could not begin, or its largest step does not fit.
    """
    run, comparison_ids = begun(bench, command)
    spec = with_settings(spec_named(run.algorithm), cast("Mapping[str, Value]", run.settings))
    assert isinstance(spec, LoraSpec)
    role = bench.model.role
    yield JobStarted(command.job_id, f"Estimating: {spec.title}")
    device = bench.model.device
    held, free = held_mb(device), free_mb(device)
    reset_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        inputs = replace(
            inputs_of(bench, run, spec, comparison_ids),
            output_path=Path(folder) / f"estimate-{uuid4().hex}",
            checkpoints=Checkpoints(),
        )
        try:
            plan = _planned(spec, inputs, clock, stop)
            whole = Whole.of(spec, inputs, stop)
            once, counted = _tried(spec, most=1), _tried(spec)
            part = _part(once, whole, plan, stop)
            largest = _largest(once, whole, part, stop)
            warmed = len(largest.examples) >= len(part.examples)
            trials = [(once, largest), *([] if warmed else [(once, part)]), (counted, part)]
            trial = _Trial(clock)
            for number, (tried, own) in enumerate(trials):
                trial = _Trial(clock)
                path = inputs.output_path.with_name(f"{number}-{inputs.output_path.name}")
                for event in trial.events(tried, replace(own.inputs, output_path=path), stop):
                    if isinstance(event, Progressed):
                        share = (number + event.done / event.total) / len(trials)
                        yield JobProgressed(command.job_id, event.stage, share, None)
                if stop.requested:
                    return Ending()
        except StoppedError:
            let_go(bench.model, inputs)
            return Ending()
        except BaseException as error:
            let_go(bench.model, inputs)
            if isinstance(error, GeneratorExit):
                raise
            raise explained(error, spec, inputs) from error
        finally:
            if role.adapter is None or role.adapter in bench.model.attached:
                bench.model.take_role(role)
    stages = _scaled(trial, plan, whole.tokens / part.tokens, _rounds(spec) / _rounds(counted))
    yield RunEstimated(command.job_id, Estimate(stages, peak_mb(device), held, free, has_its_own(device)))
    return Ending()


@dataclass(slots=True)
class _Trial:
    """Where the seconds of one run went.

    Attributes:
        plan:     how much work each stage has.
        before_s: until that was known.
        after_s:  to save what came out.
        each_s:   by stage, for work that every pass does again.
        once_s:   by stage, for work that only the first pass does.
    """

    clock: Clock
    plan: Mapping[str, float] = field(default_factory=dict)
    before_s: float = 0.0
    after_s: float = 0.0
    each_s: dict[str, float] = field(default_factory=dict)
    once_s: dict[str, float] = field(default_factory=dict)

    def events(self, spec: LoraSpec, inputs: TrainingInputs, stop: StopToken) -> Generator[Event, None, None]:
        """The run's events. What is done between two of them, while another job is served, takes none of its time."""
        running = iter(resolve(type(spec))(spec, inputs, stop))
        stage, done = "", 0.0
        while True:
            began = self.clock()
            event = next(running, None)
            took = self.clock() - began
            if event is None or isinstance(event, AdapterSaved):
                self.after_s += took
            elif not self.plan:
                self.before_s += took
                self.plan = event.work if isinstance(event, Planned) else {}
            else:
                into = self.each_s
                if isinstance(event, Progressed):
                    into = self.each_s if event.done > done else self.once_s
                    stage, done = event.stage, event.done
                into[stage] = into.get(stage, 0.0) + took
            if event is None:
                return
            yield event


def _planned(spec: LoraSpec, inputs: TrainingInputs, clock: Clock, stop: StopToken) -> _Trial:
    """A run that was followed until its work was known and no further.

    Raises:
        NotEnoughDataError: it cannot begin.
        StoppedError: ``stop`` was requested.
    """
    trial = _Trial(clock)
    with closing(trial.events(spec, inputs, stop)) as running:
        for _ in running:
            if trial.plan:
                break
    stop.check()
    let_go(inputs.model, inputs)
    return trial


def _part(spec: LoraSpec, whole: Whole, plan: _Trial, stop: StopToken) -> Whole:
    """A small part that the run can begin with and that goes through every stage of it."""
    for part in whole.spread():
        if _can_begin(spec, part, stop, plan):
            return part
    return whole


def _largest(spec: LoraSpec, whole: Whole, part: Whole, stop: StopToken) -> Whole:
    """The batch that takes most memory, as often as a run needs it, and with others where even that is too few."""
    largest = whole.largest()
    for examples in (largest.examples, [*largest.examples] * 2, [*largest.examples, *part.examples]):
        if _can_begin(spec, whole.part(examples), stop):
            return whole.part(examples)
    return part


def _can_begin(spec: LoraSpec, part: Whole, stop: StopToken, plan: _Trial | None = None) -> bool:
    """Whether a run of ``part`` has enough to learn from, and all the stages that ``plan`` has work for."""
    try:
        found = _planned(spec, part.inputs, time.perf_counter, stop).plan
    except NotEnoughDataError:
        let_go(part.inputs.model, part.inputs)
        return False
    return all(found.get(stage) for stage, work in plan.plan.items() if work) if plan else True


def _scaled(trial: _Trial, plan: _Trial, longer: float, rounds: float) -> dict[str, float]:
    """Seconds by stage of the whole run.

    Args:
        trial:  the run of a part.
        plan:   the whole run until its work was known.
        longer: tokens of an example of the whole through those of one of the part.
        rounds: passes of the whole run through those of the trial.
    """
    found: dict[str, float] = {}
    for stage, work in plan.plan.items():
        if work:
            more = longer * work / trial.plan[stage]
            found[stage] = trial.each_s.get(stage, 0.0) * more + trial.once_s.get(stage, 0.0) * more / rounds
    first, last = next(iter(found)), [*found][-1]
    found[first] += plan.before_s
    found[last] += trial.after_s
    return found


def _tried(spec: LoraSpec, most: int = 2) -> LoraSpec:
    """The same with few rounds, and enough to measure where there is something."""
    settings = spec.as_settings()
    few = {name: min(few, most, int(settings[name])) for name, few in ROUNDS.items() if name in settings}
    held_out = {name: max(least, float(settings[name])) for name, least in HELD_OUT.items() if settings.get(name)}
    return with_settings(type(spec), settings | few | held_out)


def _rounds(spec: LoraSpec) -> float:
    settings = spec.as_settings()
    return float(next((settings[name] for name in ROUNDS if name in settings), 1))
