"""Everything that can be trained."""

from __future__ import annotations

from desktop_rlhf.policy.algorithms import ALGORITHMS
from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.runs.spec import AlgorithmSpec

TRAINABLE: tuple[type[AlgorithmSpec], ...] = (RewardSpec, *ALGORITHMS)


def spec_named(name: str) -> type[AlgorithmSpec]:
    """The spec called ``name``; SpecError when there is none."""
    for spec in TRAINABLE:
        if spec.name == name:
            return spec
    raise SpecError(f"There is no algorithm named “{name}”.", f"There are: {', '.join(s.name for s in TRAINABLE)}.")
