"""Train a policy on comparisons by SimPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from desktop_rlhf.adapters.batches import group_batches, pair_means
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.training import TrainingInputs, fitting, start_policy
from desktop_rlhf.policy.simpo.loss import simpo_loss
from desktop_rlhf.policy.simpo.spec import SimpoSpec
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: SimpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one SimPO run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    groups, learned = fitting(inputs.model, inputs.groups, spec.max_length, inputs.left_out, stop)
    if not groups:
        raise NotEnoughDataError(
            f"SimPO learns from comparisons, and there is none with a winner yet.{learned.why}", "Label some."
        )
    yield from learned.notes

    def parts(batch: Sequence[PreferenceGroup]) -> Iterator[Part]:
        for _, some in group_batches(inputs.model, batch, spec.max_length):
            chosen, rejected = pair_means(inputs.model, some)
            losses = simpo_loss(chosen, rejected, beta=spec.beta, gamma=spec.simpo_gamma)
            with torch.no_grad():
                measured = {
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
