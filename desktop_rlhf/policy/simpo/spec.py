"""Settings and curves of SimPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
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
        Metric("loss", "loss", "nats", "Falls; 0.693 is the margin met.", "-log sigmoid(beta * diff - gamma)", "loss"),
        Metric("rewards/chosen", "chosen", "nats", "Beta times the mean log-probability.", "TRL CPO", "reward"),
        Metric("rewards/rejected", "rejected", "nats", "The same for the rejected; falls.", "TRL CPO", "reward"),
        Metric("rewards/margins", "margin", "nats", "Chosen minus rejected; passes gamma.", "TRL CPO", "reward"),
        Metric("rewards/accuracies", "accuracy", "share", "Pairs with the chosen likelier.", "TRL CPO", "accuracy"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    beta: float = setting(2.0, "Scale of the reward.", source="the paper, 2.0 to 2.5", minimum=1e-4)
    simpo_gamma: float = setting(
        0.5, "Margin of reward to be ahead by; a quarter of beta.", unit="nats", source="TRL CPO", minimum=0.0
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)
