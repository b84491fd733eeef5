"""Settings and curves of PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class PpoSpec(LoraSpec):
    """Proximal policy optimisation against a reward model, with a per-token KL penalty towards the reference."""

    name: ClassVar[str] = "ppo"
    title: ClassVar[str] = "PPO"
    sentence: ClassVar[str] = "The policy writes, the reward model scores, and what scored well becomes likelier."
    train: ClassVar[str] = "desktop_rlhf.policy.ppo.train:train"
    needs_comparisons: ClassVar[bool] = False
    needs_reward_model: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("objective/scores", "score", "reward", "Mean score, penalties included; should rise.", "TRL", "reward"),
        Metric("objective/rlhf_reward", "score - KL cost", "reward", "What PPO maximises.", "TRL", "reward"),
        Metric(
            "objective/kl", "KL (k1)", "nats", "Per completion from the reference; 0 to 10.", "TRL, sum of k1", "kl"
        ),
        Metric(
            "objective/entropy", "entropy", "nats", "Surprise per completion; collapse to 0 is bad.", "TRL", "entropy"
        ),
        Metric("loss/policy_avg", "policy loss", "", "Clipped surrogate; hovers around 0.", "PPO", "loss"),
        Metric("loss/value_avg", "value loss", "", "Falls as the value function learns.", "PPO", "loss"),
        Metric("policy/approxkl_avg", "approx KL", "nats", "Movement within one update; below 0.1.", "TRL", "kl"),
        Metric("policy/clipfrac_avg", "clip share", "share", "Tokens clipped; below 0.3.", "PPO", "accuracy"),
        Metric("val/ratio", "ratio", "", "Mean new/old probability over the update; near 1.", "TRL", "accuracy"),
        Metric("completions/mean_length", "length", "tokens", "Running to the limit is a bad sign.", "TRL", "length"),
        Metric(
            "val/num_eos_tokens", "ended", "share", "Share of completions that ended by themselves.", "TRL", "length"
        ),
    )

    updates: int = setting(24, "Rounds of rollout and training.", unit="updates", minimum=1, maximum=100_000)
    prompts_per_update: int = setting(4, "Prompts in one rollout.", unit="prompts", minimum=1, maximum=512)
    completions_per_prompt: int = setting(4, "Completions per prompt; they share its prefill.", minimum=1, maximum=64)
    max_new_tokens: int = setting(48, "A completion is cut after this many.", unit="tokens", minimum=1, maximum=4096)
    temperature: float = setting(1.0, "Of the policy, in sampling and in every log-probability.", minimum=0.05)
    ppo_epochs: int = setting(2, "Passes over one rollout.", minimum=1, maximum=32)
    kl_coef: float = setting(0.05, "Reward lost per nat of KL (k1) from the reference.", source="TRL", minimum=0.0)
    cliprange: float = setting(0.2, "How far a ratio counts.", source="PPO", minimum=0.01, maximum=1.0, advanced=True)
    cliprange_value: float = setting(0.2, "How far a value may move.", source="TRL", minimum=0.01, advanced=True)
    vf_coef: float = setting(0.1, "Weight of the value loss.", source="TRL", minimum=0.0, advanced=True)
    gamma: float = setting(1.0, "Discount per token.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
    lam: float = setting(0.95, "GAE's lambda.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
    missing_eos_penalty: float = setting(0.0, "Taken off a completion that was cut.", minimum=0.0, advanced=True)
