"""Train a policy on comparisons by ORPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import logsigmoid

from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.training import TrainingInputs, fitting, pair_means, start_policy
from desktop_rlhf.policy.orpo.loss import log_odds_chosen, orpo_loss
from desktop_rlhf.policy.orpo.spec import OrpoSpec
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: OrpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one ORPO run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    groups, learned = fitting(inputs.model, inputs.groups, spec.max_length, inputs.left_out)
    if not groups:
        raise NotEnoughDataError(
            f"ORPO learns from comparisons, and there is none with a winner yet.{learned.why}", "Label some."
        )
    yield from learned.notes

    def parts(batch: Sequence[PreferenceGroup]) -> Iterator[Part]:
        for group in batch:
            chosen, rejected = pair_means(inputs.model, group)
            loss = orpo_loss(chosen, rejected, beta=spec.beta).mean()
            with torch.no_grad():
                log_odds = log_odds_chosen(chosen, rejected)
                measured = {
                    "nll_loss": -chosen.mean(),
                    "log_odds_ratio": logsigmoid(log_odds).mean(),
                    "log_odds_chosen": log_odds.mean(),
                    "rewards/chosen": spec.beta * chosen.mean(),
                    "rewards/rejected": spec.beta * rejected.mean(),
                    "rewards/margins": spec.beta * (chosen - rejected).mean(),
                    "rewards/accuracies": (chosen > rejected).float().mean(),
                }
            yield Part(loss / len(batch), {name: value / len(batch) for name, value in measured.items()})

    policy = start_policy(inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    steps = yield from passes(inputs, spec, policy, groups, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs)
    yield from saved(inputs, policy, None, steps, learned.report())
