"""Settings and curves of reward-model training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting

FEWEST_COMPARISONS = 8
"""With fewer there is nothing to learn from and nothing to measure on."""


@dataclass(frozen=True)
class RewardSpec(LoraSpec):
    """Bradley-Terry on the comparisons, one forward per completion however many pairs it stands in."""

    name: ClassVar[str] = "reward"
    title: ClassVar[str] = "Reward model"
    sentence: ClassVar[str] = "Learns to score a completion as you would, from the comparisons you made."
    train: ClassVar[str] = "desktop_rlhf.reward.train:train"
    needs_comparisons: ClassVar[bool] = True
    makes: ClassVar[str] = "reward"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "nats", "Falls below 0.69, the loss of a coin.", "-log sigmoid(r_c - r_r)", "loss"),
        Metric("accuracy", "accuracy", "share", "Share of training pairs ordered as you did.", "r_c > r_r", "accuracy"),
        Metric("margin", "margin", "reward", "Chosen minus rejected; grows from 0.", "mean(r_c - r_r)", "reward"),
        Metric("mean_reward", "mean reward", "reward", "Mean score over chosen and rejected.", "TRL", "reward"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(
        1, "Passes over the comparisons; more than one overfits.", source="InstructGPT", minimum=1, maximum=1000
    )
    held_out_share: float = setting(
        0.2, "Share of the prompts kept aside to measure accuracy on.", minimum=0.0, maximum=0.9
    )
    pooling: str = setting(
        "mean",
        "Which states of a completion are scored: the mean over its tokens, or the last one.",
        choices=("mean", "last"),
        advanced=True,
    )
    head_learning_rate: float = setting(
        1e-2, "Step size of the head, which starts at 0.", minimum=0.0, maximum=1.0, advanced=True
    )
    center_rewards_coefficient: float = setting(
        0.01, "Weight of (r_c + r_r)^2, which keeps scores near 0.", source="TRL", minimum=0.0, advanced=True
    )
    margin_from_strength: bool = setting(
        False,
        "Asks for scores further apart where you said that one is much better.",
        source="Llama 2",
        advanced=True,
    )
    margin_scale: float = setting(
        1.0,
        "The margin for “significantly better”; weaker preferences get less, down to 0.",
        unit="reward",
        source="Llama 2",
        minimum=0.0,
        advanced=True,
    )
