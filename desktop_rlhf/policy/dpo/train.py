"""Train a policy on comparisons by DPO."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import Packed, completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, start_adapter
from desktop_rlhf.numerics.kl import kl_k3
from desktop_rlhf.policy.dpo.loss import Pairs, chosen_nll, joined, preference_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, Progressed, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: DpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one DPO run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
        NotFiniteError: the loss or a gradient became NaN or infinite.
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
    model.take_role(Role(policy, trainable=True))
    parameters = model.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=0.0)
    shuffle = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    total_steps = -(-len(groups) // spec.batch_size) * spec.epochs
    references: dict[int, Tensor] = {}

    step = done = 0
    for _ in range(spec.epochs):
        order = torch.randperm(len(groups), generator=shuffle).tolist()
        for start in range(0, len(order), spec.batch_size):
            batch = order[start : start + spec.batch_size]
            totals = {metric.name: 0.0 for metric in spec.metrics}
            waiting: list[Pairs] = []  # forwards whose backward is still to come
            for index in batch:
                if stop.requested:
                    break
                group = groups[index]
                packed = pack([group_ids(model, group)])
                if index not in references:
                    references[index] = _reference_logprobs(model, reference, packed)
                logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
                pairs = _pairs(spec, group, packed, logprobs, references[index])
                waiting.append(pairs)
                # aot orders all pairs of a batch, each counting alike: its one backward waits for the last forward.
                if spec.loss_type != "aot" or len(waiting) == len(batch):
                    loss = _loss(spec, joined(waiting)) * (len(waiting) / len(batch))
                    loss.backward()
                    totals["loss"] += loss.item()
                    waiting.clear()
                winners = sorted({better for better, _ in group.pairs})
                with torch.no_grad():
                    measured = _measured(spec, pairs) | {
                        "kl_k3": kl_k3(logprobs[winners], references[index][winners], packed.mask[winners]).mean(),
                    }
                for key, value in measured.items():
                    totals[key] += value.item() / len(batch)
                done += 1
                yield Progressed("training", done, len(groups) * spec.epochs)
            if stop.requested:
                break
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm).item()
            if not torch.isfinite(torch.tensor([totals["loss"], grad_norm])).all():
                raise NotFiniteError("The loss or its gradient is not a number any more.", "Lower the learning rate.")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            yield StepTaken(step, total_steps, totals | {"grad_norm": grad_norm})
        if stop.requested:
            break
    sha256 = model.save_adapter(policy, inputs.output_path) if step else None
    model.detach(policy)
    if reference is not None:
        model.detach(reference)
    if sha256:  # a run stopped before its first step learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, {"steps": step, "comparisons": len(groups)})


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
