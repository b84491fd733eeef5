"""Settings and curves of SimPO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import CHOSEN_GAIN, GRAD_NORM, MARGIN, PAIR_ACCURACY, REJECTED_GAIN
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class SimpoSpec(LoraSpec):
    """Simple preference optimisation: the mean log-probability of a completion is its reward."""

    name: ClassVar[str] = "simpo"
    title: ClassVar[str] = "SimPO"
    sentence: ClassVar[str] = "Makes what you chose likelier per token by a margin; length is no advantage."
    train: ClassVar[str] = "desktop_rlhf.policy.simpo.train:train"
    needs_comparisons: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "loss",
            "loss",
            "nats",
            sentence="surprise at your choices with the margin asked for",
            formula="mean over pairs of −log σ(β (L(c) − L(r)) − `simpo_gamma`)",
            healthy="falls; 0.693 is the margin just met",
            if_not="near 0: learnt by heart",
            source="TRL's CPO; Meng et al. 2024",
            panel="loss",
        ),
        replace(
            CHOSEN_GAIN,
            sentence="mean log-probability per token of the chosen, times `beta`",
            formula="mean over pairs of β L(c)",
            healthy="around where it began",
            if_not="falls far: nothing holds the policy near its start; lower the learning rate, take fewer steps",
            source="TRL's CPO",
        ),
        replace(REJECTED_GAIN, formula="mean over pairs of β L(r)", source="TRL's CPO"),
        replace(
            MARGIN,
            sentence="the one less the other",
            formula="`rewards/chosen` − `rewards/rejected`",
            healthy="grows past `simpo_gamma`",
            if_not="far beyond it: enough, stop",
            source="TRL's CPO",
        ),
        replace(
            PAIR_ACCURACY,
            sentence="share of pairs in which the chosen is likelier per token",
            formula="share of pairs with L(c) > L(r)",
            healthy="rises, 0.6 to 0.9",
            source="TRL's CPO",
        ),
        GRAD_NORM,
    )

    beta: float = setting(2.0, "Scale of the reward.", source="the paper, 2.0 to 2.5", minimum=1e-4)
    simpo_gamma: float = setting(
        0.5, "Margin of reward to be ahead by; a quarter of beta.", unit="nats", source="TRL CPO", minimum=0.0
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)
