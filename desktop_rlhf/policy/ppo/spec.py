"""Settings and curves of PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class PpoSpec(RolloutSpec):
    """Proximal policy optimisation against a reward model, with a per-token KL penalty towards the reference."""

    name: ClassVar[str] = "ppo"
    title: ClassVar[str] = "PPO"
    sentence: ClassVar[str] = "The policy writes, the reward model scores, and what scored well becomes likelier."
    train: ClassVar[str] = "desktop_rlhf.policy.ppo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("objective/scores", "score", "reward", "Mean score, penalties included; should rise.", "TRL", "reward"),
        Metric(
            "objective/non_score_reward",
            "KL cost",
            "reward",
            "What KL takes off, below 0; falls slowly.",
            "TRL",
            "reward",
        ),
        Metric("objective/rlhf_reward", "score - KL cost", "reward", "What PPO maximises.", "TRL", "reward"),
        Metric(
            "objective/kl", "KL (k1)", "nats", "Per completion from the reference; 0 to 10.", "TRL, sum of k1", "kl"
        ),
        Metric(
            "objective/kl_coef",
            "KL coefficient",
            "per nat",
            "Moves only with adaptive_kl.",
            "Ziegler 2019",
            "kl",
        ),
        Metric(
            "objective/entropy", "entropy", "nats", "Surprise per completion; collapse to 0 is bad.", "TRL", "entropy"
        ),
        Metric("loss/policy_avg", "policy loss", "", "Clipped surrogate; hovers around 0.", "PPO", "loss"),
        Metric("loss/value_avg", "value loss", "", "Falls as the value function learns.", "PPO", "loss"),
        Metric("policy/approxkl_avg", "approx KL", "nats", "Movement within one update; below 0.1.", "TRL", "kl"),
        Metric("policy/clipfrac_avg", "clip share", "share", "Tokens clipped; below 0.3.", "PPO", "accuracy"),
        Metric("val/clipfrac_avg", "value clip share", "share", "Values clipped; below 0.3.", "TRL", "accuracy"),
        Metric("val/ratio", "ratio", "", "Mean new/old probability over the update; near 1.", "TRL", "accuracy"),
        Metric("completions/mean_length", "length", "tokens", "Running to the limit is a bad sign.", "TRL", "length"),
        Metric(
            "val/num_eos_tokens", "ended", "share", "Share of completions that ended by themselves.", "TRL", "length"
        ),
        Metric("grad_norm", "gradient norm", "", "Of the policy, before clipping.", "L2", "gradient"),
    )

    kl_coef: float = setting(0.05, "Reward lost per nat of KL from the reference.", source="TRL", minimum=0.0)
    kl_estimator: str = setting(
        "k1",
        "KL in the reward: k1 is right on average; k3 is less noisy, but what it optimises is not quite the KL.",
        source="TRL",
        choices=("k1", "k3"),
        advanced=True,
    )
    adaptive_kl: bool = setting(
        False, "kl_coef follows the KL towards target_kl, from where it was set.", source="Ziegler 2019", advanced=True
    )
    target_kl: float = setting(
        6.0, "KL (k1) that adaptive_kl aims at.", unit="nats", source="Ziegler 2019", minimum=0.01, advanced=True
    )
    kl_horizon: int = setting(
        10_000,
        "Completions over which adaptive_kl changes kl_coef by at most about a fifth.",
        unit="completions",
        source="Ziegler 2019",
        minimum=1,
        advanced=True,
    )
    whiten_rewards: bool = setting(
        False,
        "Token rewards are put on deviation 1 with their mean kept, where a rollout has 8 tokens or more.",
        source="TRL",
        advanced=True,
    )
    value_warmup: int = setting(
        0, "First updates that train the value function only.", unit="updates", minimum=0, advanced=True
    )
    cliprange_value: float = setting(0.2, "How far a value may move.", source="TRL", minimum=0.01, advanced=True)
    vf_coef: float = setting(0.1, "Weight of the value loss.", source="TRL", minimum=0.0, advanced=True)
    gamma: float = setting(1.0, "Discount per token.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
    lam: float = setting(0.95, "GAE's lambda.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
