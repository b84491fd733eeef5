"""Settings and curves of DPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting

LOSS_TYPES = ("sigmoid", "ipo", "hinge", "robust", "aot", "apo_zero", "sppo_hard", "discopop", "sigmoid_norm")
SMOOTHED = ("sigmoid", "robust", "aot")
"""The losses that ``label_smoothing`` enters."""
WITHOUT_MARGIN = ("aot", "apo_zero", "sppo_hard")
"""The losses in which no term belongs to one pair's difference, so that a margin has no place in them."""


@dataclass(frozen=True)
class DpoSpec(LoraSpec):
    """Direct preference optimisation and the losses that stand in its place."""

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "DPO"
    sentence: ClassVar[str] = "Trains the policy on your comparisons directly; no reward model is needed."
    train: ClassVar[str] = "desktop_rlhf.policy.dpo.train:train"
    needs_comparisons: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "nats", "Falls; sigmoid starts at ln 2 = 0.693.", "-log sigmoid(beta * margin)", "loss"),
        Metric("nll_loss", "chosen NLL", "nats/token", "Surprise at the chosen; should not climb.", "TRL", "loss"),
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
    loss_type: str = setting(
        "sigmoid",
        "What is made small. ipo and sigmoid_norm average over tokens, so length counts less; robust expects wrong "
        "labels; aot keeps a whole batch in memory.",
        source="TRL",
        choices=LOSS_TYPES,
    )
    label_smoothing: float = setting(
        0.0,
        f"Share of labels taken to be wrong; for {', '.join(SMOOTHED)}.",
        source="cDPO",
        minimum=0.0,
        maximum=0.49,
        advanced=True,
    )
    rpo_alpha: float = setting(
        0.0, "Weight of the chosen's NLL, which keeps the chosen likely; 0 is none.", source="TRL", minimum=0.0
    )
    discopop_tau: float = setting(
        0.05, "How sharply discopop changes between its two parts.", source="TRL", minimum=1e-4, advanced=True
    )
    margin_from_strength: bool = setting(
        False, "Ask for a wider gap where you said that one is much better.", source="ODPO, Llama 2", advanced=True
    )
    strength_margin: float = setting(
        1.0,
        "Gap that significantly better asks for; better asks for two thirds of it, slightly better for one.",
        unit="nats",
        source="Llama 2",
        minimum=0.0,
        advanced=True,
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        LoraSpec.__post_init__(self)
        if self.label_smoothing and self.loss_type not in SMOOTHED:
            raise SpecError(
                f"The loss {self.loss_type} does not use label_smoothing.",
                f"Set it to 0, or choose one of: {', '.join(SMOOTHED)}.",
            )
        if self.margin_from_strength and self.loss_type in WITHOUT_MARGIN:
            raise SpecError(
                f"The loss {self.loss_type} has no place for a margin.",
                "Turn margin_from_strength off, or choose another loss_type.",
            )
        if self.loss_type == "aot" and self.batch_size == 1:
            raise SpecError(
                "The loss aot orders the pairs of a batch, and a batch of 1 has no order.", "Raise batch_size."
            )
