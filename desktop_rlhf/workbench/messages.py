"""What goes into the engine and what comes out of it: frozen, plain data, free of torch and of Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.spec import Value
from desktop_rlhf.workbench.estimated import Estimate

# Commands. Each starts one job; ``job_id`` is a UUID hex made by whoever asks.


@dataclass(frozen=True, slots=True)
class SampleGroups:
    """Sample one group of completions for each prompt, to be labelled. Served between the steps of a run.

    What reads the same as another of its group is drawn again a few times. Where it still does, the group is smaller;
    where no choice is left, the prompt is passed over.

    Attributes:
        repeats: all are kept as they were drawn, for measuring what an adapter writes.
    """

    job_id: str
    prompt_ids: tuple[str, ...]
    completions_per_prompt: int
    adapter_id: str | None
    sampler: Sampler
    seed: int
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class StartRun:
    """Train. ``settings`` holds the fields that differ from the spec's defaults; ``name`` is the new adapter's."""

    job_id: str
    algorithm: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    parent_adapter_id: str | None = None
    reward_adapter_id: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class EstimateRun:
    """Find out what ``StartRun`` with the same fields would take, and keep nothing of it. Served in turn with runs."""

    job_id: str
    algorithm: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    parent_adapter_id: str | None = None
    reward_adapter_id: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class ResumeRun:
    """Let a run that did not complete go on from its checkpoint, as if it had never ended."""

    job_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class SampleMatches:
    """Sample both sides of a stored side by side, for each prompt with the same seed."""

    job_id: str
    side_by_side_id: str
    prompt_ids: tuple[str, ...]
    sampler: Sampler
    seed: int


Command: TypeAlias = SampleGroups | StartRun | EstimateRun | ResumeRun | SampleMatches


# News.


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The engine imports its libraries or reads the base model."""

    sentence: str


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The base model is resident."""

    name: str
    parameters: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class JobStarted:
    """The engine took a job up. ``run_id`` is set for training."""

    job_id: str
    title: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobProgressed:
    """How far a job is, in [0, 1], and the seconds left, None while there is too little to tell from."""

    job_id: str
    stage: str
    share: float
    left_s: float | None


@dataclass(frozen=True, slots=True)
class JobPaused:
    """A run stands still until it is resumed; sampling is served meanwhile.

    ``reason`` and ``next_step`` are set where it paused by itself: going on would have harmed it.
    """

    job_id: str
    reason: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class JobResumed:
    """A paused run goes on."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The one ending of a job. ``reason`` and ``next_step`` are for the person; a bug of ours sets ``traceback``."""

    job_id: str
    status: RunStatus
    reason: str = ""
    next_step: str = ""
    traceback: str = ""
    run_id: str | None = None
    adapter_id: str | None = None


@dataclass(frozen=True, slots=True)
class CompletionsReady:
    """A group of completions is stored and can be labelled."""

    job_id: str
    prompt_id: str
    group_id: str


@dataclass(frozen=True, slots=True)
class PromptPassedOver:
    """All completions of a prompt read the same, so there is nothing to choose between and none is stored."""

    job_id: str
    prompt_id: str


@dataclass(frozen=True, slots=True)
class MatchReady:
    """Both sides of a match are stored and can be judged."""

    job_id: str
    side_by_side_id: str
    match_id: str


@dataclass(frozen=True, slots=True)
class RunSaid:
    """A training run yielded an event; it is stored already, or will be within a tenth of a second."""

    run_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class RunEstimated:
    """What a run would take is known."""

    job_id: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class EngineFailed:
    """The engine cannot go on: the base model would not load, or a bug of ours ended it."""

    reason: str
    next_step: str = ""
    traceback: str = ""


News: TypeAlias = (
    ModelLoading
    | ModelLoaded
    | JobStarted
    | JobProgressed
    | JobPaused
    | JobResumed
    | JobEnded
    | CompletionsReady
    | PromptPassedOver
    | MatchReady
    | RunSaid
    | RunEstimated
    | EngineFailed
)
