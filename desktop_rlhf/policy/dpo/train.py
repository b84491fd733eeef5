"""Train a policy on comparisons by DPO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import Packed, completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, start_adapter
from desktop_rlhf.numerics.kl import kl_k3
from desktop_rlhf.policy.dpo.loss import Pairs, chosen_nll, joined, preference_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.watch import told_when_chosen_fall
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event, Noted
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: DpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one DPO run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    model = inputs.model
    groups, too_long = fitting(model, inputs.groups, spec.max_length)
    if not groups:
        raise NotEnoughDataError("DPO learns from comparisons, and there is none with a winner yet.", "Label some.")
    if too_long:
        yield Noted(f"{too_long} comparisons are longer than {spec.max_length} tokens and were left out.")
    policy, reference = start_adapter(
        inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter")
    )
    references: dict[int, Tensor] = {}

    def parts(batch: Sequence[tuple[int, PreferenceGroup]]) -> Iterator[Part]:
        waiting: list[Pairs] = []  # forwards whose backward is still to come
        for place, (number, group) in enumerate(batch, start=1):
            packed = pack([group_ids(model, group)])
            if number not in references:
                references[number] = _reference_logprobs(model, reference, packed)
            theirs = references[number]
            logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
            pairs = _pairs(spec, group, packed, logprobs, theirs)
            waiting.append(pairs)
            loss = None
            # aot orders all pairs of a batch, each counting alike: its one backward waits for the last forward.
            if spec.loss_type != "aot" or place == len(batch):
                loss = _loss(spec, joined(waiting)) * (len(waiting) / len(batch))
                waiting.clear()
            winners = sorted({better for better, _ in group.pairs})
            with torch.no_grad():
                measured = _measured(spec, pairs) | {
                    "kl_k3": kl_k3(logprobs[winners], theirs[winners], packed.mask[winners]).mean(),
                }
            yield Part(loss, {name: value / len(batch) for name, value in measured.items()})

    taken = passes(
        inputs, spec, policy, list(enumerate(groups)), parts, stop, batch_size=spec.batch_size, epochs=spec.epochs
    )
    steps = yield from told_when_chosen_fall(taken, spec.beta)
    yield from saved(inputs, policy, reference, steps, {"comparisons": len(groups)})


def _pairs(spec: DpoSpec, group: PreferenceGroup, packed: Packed, logprobs: Tensor, reference: Tensor) -> Pairs:
    """The pairs of one comparison; ``logprobs`` and ``reference`` are [N, C] nats."""
    margin = strength_margin(group.strength, spec.strength_margin) if spec.margin_from_strength else 0.0
    index = torch.tensor(group.pairs)
    return Pairs(
        ratios=(logprobs - reference).sum(dim=-1)[index],
        reference=reference.sum(dim=-1)[index],
        lengths=packed.mask.sum(dim=-1)[index],
        offsets=torch.full((len(index),), margin),
    )


def _loss(spec: DpoSpec, pairs: Pairs) -> Tensor:
    """Scalar: the mean over ``pairs`` of the loss, with the SFT term where it is asked for."""
    losses = preference_loss(
        pairs,
        spec.loss_type,
        beta=spec.beta,
        label_smoothing=spec.label_smoothing,
        discopop_tau=spec.discopop_tau,
    )
    if spec.rpo_alpha:
        losses = losses + spec.rpo_alpha * chosen_nll(pairs)
    return losses.mean()


def _measured(spec: DpoSpec, pairs: Pairs) -> dict[str, Tensor]:
    """Scalars for the curves: implicit rewards from sums over tokens, whatever the loss reads."""
    chosen, rejected = (spec.beta * pairs.ratios).unbind(dim=-1)
    return {
        "nll_loss": chosen_nll(pairs).mean(),
        "rewards/chosen": chosen.mean(),
        "rewards/rejected": rejected.mean(),
        "rewards/margins": (chosen - rejected).mean(),
        "rewards/accuracies": (chosen > rejected).float().mean(),
    }


@torch.no_grad()
def _reference_logprobs(model: ResidentModel, reference: str | None, packed: Packed) -> Tensor:
    """[N, C] nats under the frozen start; the model's role is put back."""
    role = model.role
    model.take_role(Role(reference))
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    model.take_role(role)
    return logprobs
