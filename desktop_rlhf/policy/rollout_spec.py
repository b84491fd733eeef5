"""Settings of every algorithm that learns from what the policy writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import setting


@dataclass(frozen=True)
class RolloutSpec(LoraSpec):
    """The policy writes, the reward model scores, and the policy learns from the scores."""

    needs_comparisons: ClassVar[bool] = False
    needs_reward_model: ClassVar[bool] = True

    updates: int = setting(24, "Rounds of rollout and training.", unit="updates", minimum=1, maximum=100_000)
    prompts_per_update: int = setting(4, "Prompts in one rollout.", unit="prompts", minimum=1, maximum=512)
    completions_per_prompt: int = setting(4, "Completions per prompt; they share its prefill.", minimum=1, maximum=64)
    max_new_tokens: int = setting(48, "A completion is cut after this many.", unit="tokens", minimum=1, maximum=4096)
    temperature: float = setting(
        0.7, "Of the policy, in sampling and in every log-probability.", source="TRL", minimum=0.05
    )
    ppo_epochs: int = setting(2, "Passes over one rollout.", minimum=1, maximum=32)
    cliprange: float = setting(0.2, "How far a ratio counts.", source="PPO", minimum=0.01, maximum=1.0, advanced=True)
    missing_eos_penalty: float = setting(0.0, "Taken off a completion that was cut.", minimum=0.0, advanced=True)
    normalise_reward: bool = setting(
        False, "Scores are put on mean 0 and deviation 1 of all scores of the run so far.", advanced=True
    )
    reward_clip: float = setting(
        0.0, "Scores count no further from 0 than this, after normalising; 0 is no limit.", minimum=0.0, advanced=True
    )
    stop_kl: float = setting(
        0.0,
        "The run ends when the mean KL (k1) of a rollout is above this; 0 is never.",
        unit="nats",
        minimum=0.0,
        advanced=True,
    )
    anneal: bool = setting(False, "The learning rate falls in a straight line towards 0.", advanced=True)
