"""Settings and curves of GRPO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.metrics import CUT, ENTROPY, GRAD_NORM, MEAN_LENGTH, NO_SPREAD, SCORE, SPREAD
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class GrpoSpec(RolloutSpec):
    """Group relative policy optimisation against a reward model, with the KL from the reference in the loss."""

    name: ClassVar[str] = "grpo"
    title: ClassVar[str] = "GRPO"
    sentence: ClassVar[str] = "Like PPO without a value function: rewards count relative to those of the same prompt."
    train: ClassVar[str] = "desktop_rlhf.policy.grpo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        SCORE,
        replace(
            SPREAD,
            if_not="near 0: nothing to learn from, and with `scale_rewards` noise is blown up; raise `temperature`",
        ),
        NO_SPREAD,
        Metric(
            "kl",
            "KL (k3)",
            "nats/token",
            sentence="distance from the reference (k3, never negative)",
            formula="mean over tokens and passes of exp(d) − 1 − d, d = log ref − log π",
            healthy="0 to 0.5",
            if_not="above 2: raise `beta` or lower the learning rate",
            source="TRL; Schulman 2020",
            panel="kl",
        ),
        ENTROPY,
        Metric(
            "loss",
            "loss",
            "",
            sentence="clipped surrogate and KL together",
            formula="mean over tokens and passes of max(−A q, −A clip(q, 1 ± `cliprange`)) + β k3, q = π / old, A the "
            "reward less its prompt's mean, over its deviation with `scale_rewards`",
            healthy="starts at 0; need not fall",
            source="TRL; Shao et al. 2024, Yu et al. 2025",
            panel="loss",
        ),
        Metric(
            "clip_ratio/region_mean",
            "clip share",
            "share",
            sentence="share of tokens whose ratio was clipped; 0 with one pass",
            formula="share of tokens, over all passes, where the clipped term of the loss is the larger",
            healthy="below 0.1",
            if_not="above 0.3: fewer passes or a lower learning rate",
            source="TRL",
            panel="accuracy",
        ),
        MEAN_LENGTH,
        CUT,
        replace(GRAD_NORM, formula="mean over passes of √(Σ g²) over the adapter's weights"),
    )

    completions_per_prompt: int = setting(
        8, "Completions per prompt: the group that rewards are relative to.", source="TRL", minimum=2, maximum=64
    )
    ppo_epochs: int = setting(1, "Passes over one rollout.", source="TRL num_iterations", minimum=1, maximum=32)
    beta: float = setting(0.04, "Weight of the KL (k3) in the loss.", source="Shao 2024", minimum=0.0)
    scale_rewards: bool = setting(
        True, "Rewards are divided by their group's deviation, so that every prompt weighs the same.", source="TRL"
    )
