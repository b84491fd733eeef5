"""Train a policy on comparisons by ORPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import logsigmoid

from desktop_rlhf.adapters.batches import group_batches, pair_means
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.training import TrainingInputs, fitting, start_policy
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
    groups, learned = fitting(inputs.model, inputs.groups, spec.max_length, inputs.left_out, stop)
    if not groups:
        raise NotEnoughDataError(
            f"ORPO learns from comparisons, and there is none with a winner yet.{learned.why}", "Label some."
        )
    yield from learned.notes

    def parts(batch: Sequence[PreferenceGroup]) -> Iterator[Part]:
        for _, some in group_batches(inputs.model, batch, spec.max_length):
            chosen, rejected = pair_means(inputs.model, some)
            losses = orpo_loss(chosen, rejected, beta=spec.beta)
            with torch.no_grad():
                log_odds = log_odds_chosen(chosen, rejected)
                measured = {
                    "nll_loss": -chosen,
                    "log_odds_ratio": logsigmoid(log_odds),
                    "log_odds_chosen": log_odds,
                    "rewards/chosen": spec.beta * chosen,
                    "rewards/rejected": spec.beta * rejected,
                    "rewards/margins": spec.beta * (chosen - rejected),
                    "rewards/accuracies": (chosen > rejected).float(),
                }
            means = {name: some.total(values) / len(batch) for name, values in measured.items()}
            yield Part(some.total(losses) / len(batch), means, work=len(some.groups))

    policy = start_policy(inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    steps = yield from passes(inputs, spec, policy, groups, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs)
    yield from saved(inputs, policy, None, steps, learned.report())
