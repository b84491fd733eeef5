"""Runs: what was trained, on what, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RunStatus(StrEnum):
    """RUNNING has no ending yet; each of the others is one."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        algorithm:         name of the spec: ``reward``, ``dpo``, ``ppo``.
        settings:          every field of the spec by name.
        parent_adapter_id: the policy adapter it started from; None is the base.
        reward_adapter_id: the reward model it was trained against, if any.
        judgements:        how many it learned from, by labelling mode. Which ones they are stands apart, since they may
                           be very many.
        provenance:        versions, hashes, seed, threads, processor, device and dtype, by name.
        adapter_name:      what its adapter is to be called; empty leaves it to the program.
        reason:            why it failed or stopped, one sentence.
        report:            what it measured at its end, by name (held-out accuracy with n, and the like).
    """

    id: str
    algorithm: str
    settings: Mapping[str, object]
    parent_adapter_id: str | None
    reward_adapter_id: str | None
    judgements: Mapping[str, int]
    provenance: Mapping[str, object]
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    report: Mapping[str, object] = field(default_factory=dict)
    created_at: str = ""
    ended_at: str = ""
    adapter_name: str = ""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of one curve. ``value`` may be NaN or infinite, and is stored as such."""

    step: int
    name: str
    value: float
