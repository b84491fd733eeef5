"""Settings and curves of DPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import CHOSEN_GAIN, GRAD_NORM, MARGIN, PAIR_ACCURACY, REJECTED_GAIN
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
        Metric(
            "loss",
            "loss",
            "nats",
            sentence="surprise at your choices under the policy",
            formula="mean over pairs of −log σ(β (Δ(c) − Δ(r))); `loss_type`, `label_smoothing`, "
            "`margin_from_strength` and `rpo_alpha` change it",
            healthy="starts at 0.693, falls",
            if_not="at once near 0: `beta` too high, or a learning rate that is",
            source="TRL; Rafailov et al. 2023",
            panel="loss",
        ),
        Metric(
            "nll_loss",
            "chosen NLL",
            "nats/token",
            sentence="how surprised the policy is by the chosen",
            formula="mean over pairs of −L(c)",
            healthy="stays or falls",
            if_not="climbs: good completions become unlikely as well; set `rpo_alpha` to 0.5 or 1",
            source="Pang et al. 2024; TRL's is the mean over all tokens of the batch",
            panel="loss",
        ),
        CHOSEN_GAIN,
        REJECTED_GAIN,
        MARGIN,
        PAIR_ACCURACY,
        Metric(
            "kl_k3",
            "KL (k3)",
            "nats/token",
            sentence="distance from the reference on chosen texts",
            formula="mean over pairs of the mean of exp(d) − 1 − d over the chosen's tokens, d = log ref − log π",
            healthy="rises slowly, below about 0.5",
            if_not="steep: lower the learning rate or raise `beta`",
            source="Schulman 2020; a KL only for texts of the policy's own",
            panel="kl",
        ),
        GRAD_NORM,
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
