"""Train a policy on comparisons by DPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.batches import GroupBatch, References, group_batches
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, start_adapter
from desktop_rlhf.numerics.kl import kl_k3
from desktop_rlhf.policy.dpo.loss import Pairs, chosen_nll, joined, preference_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.watch import told_when_chosen_fall
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: DpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one DPO run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    model = inputs.model
    groups, learned = fitting(model, inputs.groups, spec.max_length, inputs.left_out, stop)
    if not groups:
        raise NotEnoughDataError(
            f"DPO learns from comparisons, and there is none with a winner yet.{learned.why}", "Label some."
        )
    yield from learned.notes
    policy, reference = start_adapter(
        inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter")
    )
    references = References(model, reference, [group_ids(model, group) for group in groups], spec.max_length)

    def parts(batch: Sequence[tuple[int, PreferenceGroup]]) -> Iterator[Part]:
        numbers = [number for number, _ in batch]
        for _ in references.compute(numbers):
            yield Part(None, work=0)
        waiting: list[Pairs] = []  # forwards whose backward is still to come
        for places, some in group_batches(model, [group for _, group in batch], spec.max_length):
            theirs = references.of(numbers[places.start : places.stop])
            logprobs = completion_logprobs(model, hidden_states(model, some.packed), some.packed)
            pairs = _pairs(spec, some, logprobs, theirs)
            if spec.loss_type == "aot":
                # It orders all pairs of a batch, each counting alike: its one backward waits for the last forward.
                waiting.append(pairs)
                loss = _losses(spec, joined(waiting)).mean() if places.stop == len(batch) else None
            else:
                loss = some.total(_losses(spec, pairs)) / len(batch)
            with torch.no_grad():
                measured = _measured(spec, pairs) | {"kl_k3": _kl_of_winners(some, logprobs, theirs)}
                means = {name: some.total(values) / len(batch) for name, values in measured.items()}
            yield Part(loss, means, work=len(some.groups))

    taken = passes(
        inputs, spec, policy, list(enumerate(groups)), parts, stop, batch_size=spec.batch_size, epochs=spec.epochs
    )
    steps = yield from told_when_chosen_fall(taken, spec.beta)
    yield from saved(inputs, policy, reference, steps, learned.report())


def _pairs(spec: DpoSpec, batch: GroupBatch, logprobs: Tensor, reference: Tensor) -> Pairs:
    """The pairs of some comparisons; ``logprobs`` and ``reference`` are [N, C] nats."""
    margins = [strength_margin(group.strength, spec.strength_margin) for group in batch.groups]
    return Pairs(
        ratios=(logprobs - reference).sum(dim=-1)[batch.pairs],
        reference=reference.sum(dim=-1)[batch.pairs],
        lengths=batch.packed.mask.sum(dim=-1)[batch.pairs],
        offsets=batch.by_pair(margins if spec.margin_from_strength else [0.0] * len(margins)),
    )


def _losses(spec: DpoSpec, pairs: Pairs) -> Tensor:
    """[P] the loss of every pair, with the SFT term where it is asked for."""
    losses = preference_loss(
        pairs,
        spec.loss_type,
        beta=spec.beta,
        label_smoothing=spec.label_smoothing,
        discopop_tau=spec.discopop_tau,
    )
    return losses + spec.rpo_alpha * chosen_nll(pairs) if spec.rpo_alpha else losses


def _measured(spec: DpoSpec, pairs: Pairs) -> dict[str, Tensor]:
    """[P] each, for the curves: implicit rewards from sums over tokens, whatever the loss reads."""
    chosen, rejected = (spec.beta * pairs.ratios).unbind(dim=-1)
    return {
        "nll_loss": chosen_nll(pairs),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).float(),
    }


def _kl_of_winners(batch: GroupBatch, logprobs: Tensor, reference: Tensor) -> Tensor:
    """[P] nats per token, k3 of the policy from the reference on what was chosen."""
    return batch.paired(kl_k3(logprobs, reference, batch.packed.mask))[0]
