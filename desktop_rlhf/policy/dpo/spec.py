"""Settings and curves of DPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class DpoSpec(LoraSpec):
    """Direct preference optimisation, sigmoid loss with optional label smoothing."""

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "DPO"
    sentence: ClassVar[str] = "Trains the policy on your comparisons directly; no reward model is needed."
    train: ClassVar[str] = "desktop_rlhf.policy.dpo.train:train"
    needs_comparisons: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "nats", "Starts at ln 2 = 0.693 and falls.", "-log sigmoid(beta * margin)", "loss"),
        Metric(
            "rewards/chosen", "chosen", "nats", "Implicit reward of the chosen; may fall.", "beta (pi - ref)", "reward"
        ),
        Metric("rewards/rejected", "rejected", "nats", "Implicit reward of the rejected; falls.", "TRL", "reward"),
        Metric("rewards/margins", "margin", "nats", "Chosen minus rejected; grows from 0.", "TRL", "reward"),
        Metric("rewards/accuracies", "accuracy", "share", "Share of pairs with a positive margin.", "TRL", "accuracy"),
        Metric("kl_k3", "KL (k3)", "nats/token", "Distance from the reference on chosen texts.", "Schulman 2020", "kl"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    beta: float = setting(0.1, "How strongly the policy is held near the reference.", source="TRL", minimum=1e-4)
    label_smoothing: float = setting(
        0.0, "Share of labels taken to be wrong.", source="cDPO", minimum=0.0, maximum=0.49, advanced=True
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)
