"""Settings and curves of KTO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import CHOSEN_GAIN, GRAD_NORM, MARGIN, REJECTED_GAIN
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
        Metric(
            "loss",
            "loss",
            "",
            sentence="share of each completion's worth that is not won yet",
            formula="mean over completions of w (1 − σ(β (Δ(y) − z))) for good ones and w (1 − σ(β (z − Δ(y)))) for "
            "bad ones; w is `desirable_weight` or `undesirable_weight`, z is `kl`",
            healthy="starts at 0.5 where both weights are 1, falls",
            if_not="near 0: learnt by heart",
            source="TRL; Ethayarajh et al. 2024",
            panel="loss",
        ),
        replace(
            CHOSEN_GAIN,
            title="good",
            sentence="implicit reward of the good ones: how much likelier they became, times `beta`",
            formula="mean over good completions of β Δ(y)",
            healthy="rises",
            if_not="falls: bad ones outweigh them; raise `desirable_weight`",
        ),
        replace(
            REJECTED_GAIN,
            title="bad",
            sentence="the same for the bad ones",
            formula="mean over bad completions of β Δ(y)",
            if_not="rises with the good ones: only style was learnt",
        ),
        replace(MARGIN, sentence="the one less the other", formula="`rewards/chosen` − `rewards/rejected`"),
        Metric(
            "kl",
            "reference point",
            "nats",
            sentence="what answers to other prompts gained: the point that gain and loss are counted from",
            formula="mean over completions of Δ(y) behind another prompt of the batch, at least 0",
            healthy="stays low",
            if_not="rises as fast as the good ones: style was learnt, not answers; lower the learning rate",
            source="TRL; Ethayarajh et al. 2024",
            panel="kl",
        ),
        GRAD_NORM,
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
