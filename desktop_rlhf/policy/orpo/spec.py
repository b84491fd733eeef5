"""Settings and curves of ORPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class OrpoSpec(LoraSpec):
    """Odds-ratio preference optimisation: SFT on the chosen with a penalty on the odds of the rejected."""

    name: ClassVar[str] = "orpo"
    title: ClassVar[str] = "ORPO"
    sentence: ClassVar[str] = "Writes what you chose and avoids what you did not, in one go and without a reference."
    train: ClassVar[str] = "desktop_rlhf.policy.orpo.train:train"
    needs_comparisons: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "nats", "NLL and odds-ratio term together; falls.", "nll - beta * log sigmoid", "loss"),
        Metric("nll_loss", "NLL", "nats/token", "Surprise at the chosen tokens; falls.", "TRL", "loss"),
        Metric(
            "log_odds_ratio", "odds-ratio term", "nats", "Log sigmoid of the log odds; rises to 0.", "TRL", "log odds"
        ),
        Metric("log_odds_chosen", "log odds", "nats", "Of chosen against rejected; rises above 0.", "TRL", "log odds"),
        Metric("rewards/chosen", "chosen", "nats", "Beta times the mean log-probability; rises.", "TRL", "reward"),
        Metric("rewards/rejected", "rejected", "nats", "The same for the rejected; rises less.", "TRL", "reward"),
        Metric("rewards/margins", "margin", "nats", "Chosen minus rejected; grows.", "TRL", "reward"),
        Metric("rewards/accuracies", "accuracy", "share", "Pairs with the chosen likelier.", "TRL", "accuracy"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    beta: float = setting(
        0.1, "Weight of the odds-ratio term beside the NLL.", source="TRL; lambda in the paper", minimum=1e-4
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)
