"""Settings and curves of RLOO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.metrics import CUT, ENTROPY, GRAD_NORM, MEAN_LENGTH, NO_SPREAD, SCORE, SPREAD
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class RlooSpec(RolloutSpec):
    """REINFORCE leave-one-out against a reward model; the KL from the reference is taken off each score."""

    name: ClassVar[str] = "rloo"
    title: ClassVar[str] = "RLOO"
    sentence: ClassVar[str] = "Like PPO without a value function: each completion is measured against its siblings."
    train: ClassVar[str] = "desktop_rlhf.policy.rloo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        SCORE,
        Metric(
            "rlhf_reward",
            "score with KL penalty",
            "reward",
            sentence="reward with the KL penalty added; what RLOO maximises",
            formula="mean over completions of R(y) − β Σ (log old − log ref)",
            healthy="rises",
            if_not="falls while scores rise: raise `beta` or stop",
            source="our own, after TRL's PPO",
            panel="reward",
        ),
        SPREAD,
        replace(NO_SPREAD, source="TRL, which adds the KL penalty first"),
        Metric(
            "kl",
            "KL (k1)",
            "nats",
            sentence="distance from the reference per completion (k1, a sum; single values may be negative)",
            formula="mean over completions of Σ (log old − log ref)",
            healthy="0 to 10, rising slowly",
            if_not="above 20: raise `beta`; below 0 for many updates: sampling and scoring disagree, which is a bug",
            source="Schulman 2020; TRL's RLOO divides by the tokens, its PPO does not",
            panel="kl",
        ),
        ENTROPY,
        Metric(
            "loss",
            "loss",
            "",
            sentence="clipped surrogate, a completion being one action",
            formula="mean over completions and passes of max(−A q, −A clip(q, 1 ± `cliprange`)), q = π(y) / old(y), A "
            "the reward with its KL penalty less the mean of the other completions'",
            healthy="hovers around 0, need not fall",
            source="TRL; Ahmadian et al. 2024",
            panel="loss",
        ),
        Metric(
            "clip_ratio/region_mean",
            "clip share",
            "share",
            sentence="share of completions whose ratio was clipped; 0 with one pass",
            formula="share of completions, over all passes, where the clipped term of the loss is the larger",
            healthy="below 0.3",
            if_not="above: fewer passes or a lower learning rate",
            source="TRL",
            panel="accuracy",
        ),
        MEAN_LENGTH,
        CUT,
        replace(GRAD_NORM, formula="mean over passes of √(Σ g²) over the adapter's weights"),
    )

    completions_per_prompt: int = setting(
        4, "Completions per prompt, each measured against the others (k).", source="RLOO", minimum=2, maximum=64
    )
    ppo_epochs: int = setting(1, "Passes over one rollout.", source="TRL num_iterations", minimum=1, maximum=32)
    beta: float = setting(0.05, "Reward lost per nat of KL (k1) from the reference.", source="TRL", minimum=0.0)
