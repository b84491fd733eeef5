"""Settings and curves of KTO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class KtoSpec(LoraSpec):
    """Kahneman-Tversky optimisation: single completions, good or bad, weighed against a reference point."""

    name: ClassVar[str] = "kto"
    title: ClassVar[str] = "KTO"
    sentence: ClassVar[str] = (
        "Learns from single completions, good or bad; “both bad” teaches it as well, and a tie does not."
    )
    train: ClassVar[str] = "desktop_rlhf.policy.kto.train:train"
    needs_comparisons: ClassVar[bool] = False
    needs_good: ClassVar[bool] = True
    needs_bad: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "", "Starts at half the mean weight and falls.", "1 - sigmoid(gain)", "loss"),
        Metric("rewards/chosen", "good", "nats", "Implicit reward of the good; rises.", "beta (pi - ref)", "reward"),
        Metric("rewards/rejected", "bad", "nats", "Implicit reward of the bad; falls.", "TRL", "reward"),
        Metric("rewards/margins", "margin", "nats", "Good minus bad; grows from 0.", "TRL", "reward"),
        Metric("kl", "reference point", "nats", "Gain on answers to other prompts; stays low.", "TRL", "kl"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    beta: float = setting(0.1, "How strongly the policy is held near the reference.", source="TRL", minimum=1e-4)
    desirable_weight: float = setting(
        1.0, "Weight of a good completion; raise it where good ones are few.", source="TRL", minimum=0.0
    )
    undesirable_weight: float = setting(
        1.0, "Weight of a bad completion; lower it where bad ones are many.", source="TRL", minimum=0.0
    )
    batch_size: int = setting(
        8, "Completions in one optimiser step; the reference point is measured on them.", unit="completions",
        source="TRL", minimum=2, maximum=256,
    )  # fmt: skip
    epochs: int = setting(1, "Passes over the completions.", minimum=1, maximum=1000)
