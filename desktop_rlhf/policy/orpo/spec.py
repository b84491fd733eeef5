"""Settings and curves of ORPO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.metrics import CHOSEN_GAIN, GRAD_NORM, MARGIN, PAIR_ACCURACY, REJECTED_GAIN
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
        Metric(
            "loss",
            "loss",
            "nats",
            sentence="surprise at the chosen, and at your choices",
            formula="`nll_loss` − β `log_odds_ratio`",
            healthy="falls",
            if_not="flat: too few steps or too low a learning rate",
            source="Hong et al. 2024",
            panel="loss",
        ),
        Metric(
            "nll_loss",
            "NLL",
            "nats/token",
            sentence="surprise at the chosen tokens",
            formula="mean over pairs of −L(c)",
            healthy="falls",
            if_not="rises: `beta` too high",
            source="Hong et al. 2024; TRL's is the mean over all tokens of the batch, prompts among them",
            panel="loss",
        ),
        Metric(
            "log_odds_ratio",
            "odds-ratio term",
            "nats",
            sentence="log sigmoid of the odds of chosen against rejected; 0 is best",
            formula="mean over pairs of log σ(o(c) − o(r)), o = log (p / (1 − p)), log p = L",
            healthy="rises towards 0",
            if_not="stays below −0.69: the rejected are still the likelier ones; raise `beta`",
            source="TRL",
            panel="log odds",
        ),
        Metric(
            "log_odds_chosen",
            "log odds",
            "nats",
            sentence="log of these odds",
            formula="mean over pairs of o(c) − o(r)",
            healthy="rises above 0",
            if_not="falls: only style was learnt",
            source="TRL",
            panel="log odds",
        ),
        replace(
            CHOSEN_GAIN,
            sentence="mean log-probability per token of the chosen, times `beta`",
            formula="mean over pairs of β L(c)",
            healthy="rises",
            if_not="falls: lower the learning rate",
        ),
        replace(
            REJECTED_GAIN,
            formula="mean over pairs of β L(r)",
            healthy="may rise a little, for they resemble the chosen",
            if_not="rises as fast as the chosen: raise `beta`",
        ),
        replace(
            MARGIN,
            sentence="the one less the other",
            formula="`rewards/chosen` − `rewards/rejected`",
            healthy="grows",
            if_not="stays: raise `beta`",
        ),
        replace(
            PAIR_ACCURACY,
            sentence="share of pairs in which the chosen is likelier per token",
            formula="share of pairs with L(c) > L(r)",
            healthy="rises, 0.6 to 0.9",
        ),
        GRAD_NORM,
    )

    beta: float = setting(
        0.1, "Weight of the odds-ratio term beside the NLL.", source="TRL; lambda in the paper", minimum=1e-4
    )
    batch_size: int = setting(4, "Comparisons in one optimiser step.", unit="comparisons", minimum=1, maximum=256)
    epochs: int = setting(1, "Passes over the comparisons.", minimum=1, maximum=1000)
