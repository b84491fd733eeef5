"""Settings and curves of SFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import GRAD_NORM
from desktop_rlhf.runs.spec import Metric, setting

ALL, DEMONSTRATIONS, CHOSEN = "all", "demonstrations", "chosen"


@dataclass(frozen=True)
class SftSpec(LoraSpec):
    """Supervised fine-tuning: demonstrations and chosen completions are written again, token by token."""

    name: ClassVar[str] = "sft"
    title: ClassVar[str] = "SFT"
    sentence: ClassVar[str] = (
        "Teaches the policy to write what was demonstrated and what you chose; bad ones are not used."
    )
    train: ClassVar[str] = "desktop_rlhf.policy.sft.train:train"
    needs_comparisons: ClassVar[bool] = False
    needs_good: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "loss",
            "loss",
            "nats/token",
            sentence="surprise at the completions' tokens; those of the prompts do not count",
            formula="mean over tokens of −log π",
            healthy="falls, the first pass the most",
            if_not="near 0: learnt by heart; fewer passes or more completions",
            source="TRL",
            panel="loss",
        ),
        Metric(
            "mean_token_accuracy",
            "accuracy",
            "share",
            sentence="share of those tokens that the policy thought likeliest",
            formula="share of tokens with no likelier one in their place",
            healthy="rises a little",
            if_not="1.0: learnt by heart",
            source="TRL",
            panel="accuracy",
        ),
        Metric(
            "entropy",
            "entropy",
            "nats/token",
            sentence="how undecided the policy is",
            formula="mean over tokens of −Σ p log p, over the vocabulary under π",
            healthy="falls gently",
            if_not="near 0: it will say one thing always, and sampling it gives you nothing to compare",
            source="TRL",
            panel="entropy",
        ),
        GRAD_NORM,
    )

    learn_from: str = setting(
        ALL, "Imported demonstrations, the completions you chose or called good, or all of them.",
        choices=(ALL, DEMONSTRATIONS, CHOSEN),
    )  # fmt: skip
    batch_size: int = setting(4, "Completions in one optimiser step.", unit="completions", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the completions.", minimum=1, maximum=1000)

    def takes(self, judged: JudgedCompletion) -> bool:
        wanted = self.learn_from == ALL or judged.demonstration == (self.learn_from == DEMONSTRATIONS)
        return wanted and super().takes(judged)
