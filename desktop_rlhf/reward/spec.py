"""Settings and curves of reward-model training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import GRAD_NORM
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
        Metric(
            "loss",
            "loss",
            "nats",
            sentence="surprise at your choices",
            formula="mean over pairs of −log σ(s(c) − s(r) − m) + `center_rewards_coefficient` (s(c) + s(r))², m the "
            "margin, 0 without `margin_from_strength`",
            healthy="starts at 0.69 (a coin), falls towards 0.3 to 0.6",
            if_not="at 0.69: too few labels, or labels that contradict each other; near 0: learnt by heart",
            source="TRL; Bradley and Terry 1952",
            panel="loss",
        ),
        Metric(
            "accuracy",
            "accuracy",
            "share",
            sentence="share of training pairs ordered as you did",
            formula="share of pairs with s(c) > s(r)",
            healthy="0.6 to 0.9",
            if_not="1.0 on training pairs beside 0.5 on held-out ones is overfitting: one pass, more labels",
            source="TRL",
            panel="accuracy",
        ),
        Metric(
            "margin",
            "margin",
            "reward",
            sentence="score of the chosen less that of the rejected",
            formula="mean over pairs of s(c) − s(r)",
            healthy="grows slowly from 0",
            if_not="very large: too many passes or too high a learning rate",
            source="TRL",
            panel="reward",
        ),
        Metric(
            "mean_reward",
            "mean reward",
            "reward",
            sentence="mean score of all that was compared",
            formula="mean over comparisons of the mean of s(y) over its completions",
            healthy="stays near 0",
            if_not="drifts: raise `center_rewards_coefficient`",
            source="TRL",
            panel="reward",
        ),
        replace(GRAD_NORM, formula="√(Σ g²) over the adapter's and the head's weights"),
    )

    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(
        1, "Passes over the comparisons; more than one overfits.", source="InstructGPT", minimum=1, maximum=1000
    )
    held_out_share: float = setting(
        0.2, "Share of the prompts kept aside to measure accuracy on.", minimum=0.0, maximum=0.9
    )
    pooling: str = setting(
        "last",
        "Which states of a completion are scored: the last one, or the mean over its tokens, which learned more from "
        "few labels where completions were cut short.",
        choices=("last", "mean"),
        source="InstructGPT",
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
