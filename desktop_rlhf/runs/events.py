"""What an algorithm says while it runs: frozen, plain numbers and strings, so any thread or store may keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Planned:
    """All data was looked through and the work is about to begin.

    ``work`` is how much of it each stage has, in their order and in the unit of ``Progressed``: its ``total`` in all.
    """

    work: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Progressed:
    """Some work was done between two steps; the engine may serve another job now.

    ``done`` and ``total`` count the whole run in the same unit, so that a share and a time left can be told. Where
    ``done`` did not grow, the work was of a kind that is not repeated in later passes, as the reference's is.
    """

    stage: str
    done: float
    total: float


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One optimiser step (for PPO, one update) was taken. ``metrics`` maps declared names to values."""

    step: int
    total_steps: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SampleShown:
    """What the policy says by now to one prompt, with its reward where there is a reward model."""

    step: int
    prompt: str
    completion: str
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the person should know of this run: pairs dropped, a limit reached."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Halted:
    """Going on would harm the run, so it waits: a loss became NaN or infinite. Nothing that was learned is touched.

    Whoever calls the algorithm again tells it to go on without the piece of work that failed.
    """

    reason: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """The next thing the run does is to write a checkpoint.

    Whatever it said before has to be stored first: a run that goes on from there will not say it again.
    """


@dataclass(frozen=True, slots=True)
class AdapterSaved:
    """The adapter stands in its folder. ``report`` is what the run measured of it at the end."""

    path: str
    sha256: str
    report: Mapping[str, object] = field(default_factory=dict)


Event: TypeAlias = Planned | Progressed | StepTaken | SampleShown | Noted | Halted | Checkpointing | AdapterSaved
