"""Settings and curves of RLOO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class RlooSpec(RolloutSpec):
    """REINFORCE leave-one-out against a reward model; the KL from the reference is taken off each score."""

    name: ClassVar[str] = "rloo"
    title: ClassVar[str] = "RLOO"
    sentence: ClassVar[str] = "Like PPO without a value function: each completion is measured against its siblings."
    train: ClassVar[str] = "desktop_rlhf.policy.rloo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("reward", "score", "reward", "Mean score, penalties included; should rise.", "TRL", "reward"),
        Metric("rlhf_reward", "score - KL cost", "reward", "What RLOO maximises.", "score - beta k1", "reward"),
        Metric("reward_std", "spread", "reward", "Deviation among siblings, mean over prompts.", "TRL", "reward"),
        Metric(
            "frac_reward_zero_std", "no spread", "share", "Prompts whose siblings all score alike.", "TRL", "accuracy"
        ),
        Metric("kl", "KL (k1)", "nats", "Per completion from the reference; 0 to 10.", "TRL, sum of k1", "kl"),
        Metric("entropy", "entropy", "nats/token", "How undecided; collapse to 0 is bad.", "TRL", "entropy"),
        Metric("loss", "loss", "", "Clipped surrogate; hovers around 0.", "TRL", "loss"),
        Metric("clip_ratio/region_mean", "clip share", "share", "Completions clipped; below 0.3.", "TRL", "accuracy"),
        Metric("completions/mean_length", "length", "tokens", "Running to the limit is a bad sign.", "TRL", "length"),
        Metric("completions/clipped_ratio", "cut", "share", "Share cut at the limit.", "TRL", "length"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    completions_per_prompt: int = setting(
        4, "Completions per prompt, each measured against the others (k).", source="RLOO", minimum=2, maximum=64
    )
    ppo_epochs: int = setting(1, "Passes over one rollout.", source="TRL num_iterations", minimum=1, maximum=32)
    beta: float = setting(0.05, "Reward lost per nat of KL (k1) from the reference.", source="TRL", minimum=0.0)
