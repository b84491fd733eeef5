"""Settings and curves of SFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class SftSpec(LoraSpec):
    """Supervised fine-tuning: the chosen completions are written again, token by token."""

    name: ClassVar[str] = "sft"
    title: ClassVar[str] = "SFT"
    sentence: ClassVar[str] = "Teaches the policy to write the completions you chose; the others are not used."
    train: ClassVar[str] = "desktop_rlhf.policy.sft.train:train"
    needs_comparisons: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", "nats/token", "Surprise at the chosen tokens; falls.", "cross-entropy", "loss"),
        Metric("mean_token_accuracy", "accuracy", "share", "Chosen tokens that were the likeliest.", "TRL", "accuracy"),
        Metric("entropy", "entropy", "nats/token", "How undecided the policy is; falls gently.", "TRL", "entropy"),
        Metric("grad_norm", "gradient norm", "", "Length of the gradient before clipping.", "L2", "gradient"),
    )

    batch_size: int = setting(4, "Completions in one optimiser step.", unit="completions", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the chosen completions.", minimum=1, maximum=1000)
