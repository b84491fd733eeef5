"""Settings and curves of GRPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class GrpoSpec(RolloutSpec):
    """Group relative policy optimisation against a reward model, with the KL from the reference in the loss."""

    name: ClassVar[str] = "grpo"
    title: ClassVar[str] = "GRPO"
    sentence: ClassVar[str] = "Like PPO without a value function: rewards count relative to those of the same prompt."
    train: ClassVar[str] = "desktop_rlhf.policy.grpo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("reward", "score", "reward", "Mean score, penalties included; should rise.", "TRL", "reward"),
        Metric("reward_std", "spread", "reward", "Deviation among siblings, mean over prompts.", "TRL", "reward"),
        Metric(
            "frac_reward_zero_std", "no spread", "share", "Prompts whose siblings all score alike.", "TRL", "accuracy"
        ),
        Metric("kl", "KL (k3)", "nats/token", "Distance from the reference; 0 to 0.5.", "TRL, mean of k3", "kl"),
        Metric("entropy", "entropy", "nats/token", "How undecided; collapse to 0 is bad.", "TRL", "entropy"),
        Metric("loss", "loss", "", "Surrogate and KL; starts at 0 and need not fall.", "TRL", "loss"),
        Metric("clip_ratio/region_mean", "clip share", "share", "Tokens clipped; below 0.1.", "TRL", "accuracy"),
        Metric("completions/mean_length", "length", "tokens", "Running to the limit is a bad sign.", "TRL", "length"),
        Metric("completions/clipped_ratio", "cut", "share", "Share cut at the limit.", "TRL", "length"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    completions_per_prompt: int = setting(
        8, "Completions per prompt: the group that rewards are relative to.", source="TRL", minimum=2, maximum=64
    )
    ppo_epochs: int = setting(1, "Passes over one rollout.", source="TRL num_iterations", minimum=1, maximum=32)
    beta: float = setting(0.04, "Weight of the KL (k3) in the loss.", source="Shao 2024", minimum=0.0)
    scale_rewards: bool = setting(
        True, "Rewards are divided by their group's deviation, so that every prompt weighs the same.", source="TRL"
    )
