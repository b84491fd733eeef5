"""How much of everything a study does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.spec import Value

SEED = 11
SAMPLER = Sampler(temperature=1.0, max_new_tokens=32)
"""Temperature 1, so that the log-probabilities that DPO, KTO and SFT train on are those that are sampled from."""
RATE = 2e-4
POOLINGS = ("mean", "last")
"""What a reward model reads. The policies learn from the first one: the completions are cut, so that most of them have
no last token that would sum them up."""
REWARD: Mapping[str, Value] = {"learning_rate": 3e-4, "held_out_share": 0.0}
_FROM_LABELS: Mapping[str, Value] = {"learning_rate": RATE}
_ON_POLICY: Mapping[str, Value] = {
    "learning_rate": RATE,
    "temperature": SAMPLER.temperature,
    "max_new_tokens": SAMPLER.max_new_tokens,
}
FIXED = {"dpo": _FROM_LABELS, "kto": _FROM_LABELS, "sft": _FROM_LABELS, "ppo": _ON_POLICY, "rloo": _ON_POLICY}
STRENGTH = {"dpo": "beta", "kto": "beta", "sft": "epochs", "ppo": "updates", "rloo": "updates"}
"""The one setting that is varied along an algorithm's curve; everything else stays at the program's defaults."""


@dataclass(frozen=True)
class Plan:
    """Sizes of one study.

    Attributes:
        labels:            numbers of labels a reward model is trained on, ascending.
        held_out_prompts:  prompts that nothing is trained on.
        held_out_rounds:   pairs sampled for each of them.
        frontier_labels:   how many of the labels the policies are trained on; one of ``labels``.
        strengths:         the values of each algorithm's ``STRENGTH``.
        fresh_per_prompt:  completions a trained policy writes to each held-out prompt.
        hh_pairs:          human preference pairs used of a file, None is all.
    """

    name: str
    labels: tuple[int, ...]
    held_out_prompts: int
    held_out_rounds: int
    frontier_labels: int
    strengths: Mapping[str, tuple[Value, ...]]
    fresh_per_prompt: int
    hh_pairs: int | None


QUICK = Plan(
    name="quick",
    labels=(25, 50, 100, 200),
    held_out_prompts=40,
    held_out_rounds=2,
    frontier_labels=200,
    strengths={"dpo": (0.1, 0.02), "kto": (0.05,), "sft": (1, 2), "ppo": (4, 8), "rloo": (4, 8)},
    fresh_per_prompt=1,
    hh_pairs=120,
)
FULL = Plan(
    name="full",
    labels=(25, 50, 100, 200, 400, 800, 1600),
    held_out_prompts=111,
    held_out_rounds=3,
    frontier_labels=200,
    strengths={
        "dpo": (0.3, 0.1, 0.03),
        "kto": (0.3, 0.05),
        "sft": (1, 2),
        "ppo": (8, 24),
        "rloo": (8, 24),
    },
    fresh_per_prompt=1,
    hh_pairs=None,
)
