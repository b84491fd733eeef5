"""Train a policy on comparisons by DPO."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import Packed, completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, start_adapter
from desktop_rlhf.numerics.kl import kl_k3
from desktop_rlhf.policy.dpo.loss import dpo_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
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
            totals = dict.fromkeys(
                ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "kl_k3"), 0.0
            )
            for index in batch:
                if stop.requested:
                    break
                group = groups[index]
                packed = pack([group_ids(model, group)])
                if index not in references:
                    references[index] = _reference_logprobs(model, reference, packed)
                logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
                gains = (logprobs - references[index]).sum(dim=-1)
                chosen = gains[[better for better, _ in group.pairs]]
                rejected = gains[[worse for _, worse in group.pairs]]
                loss = dpo_loss(chosen - rejected, beta=spec.beta, label_smoothing=spec.label_smoothing).mean()
                (loss / len(batch)).backward()
                winners = sorted({better for better, _ in group.pairs})
                with torch.no_grad():
                    measured = {
                        "loss": loss,
                        "rewards/chosen": spec.beta * chosen.mean(),
                        "rewards/rejected": spec.beta * rejected.mean(),
                        "rewards/margins": spec.beta * (chosen - rejected).mean(),
                        "rewards/accuracies": (chosen > rejected).float().mean(),
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


@torch.no_grad()
def _reference_logprobs(model: ResidentModel, reference: str | None, packed: Packed) -> Tensor:
    """[N, C] nats under the frozen start; the model's role is put back."""
    role = model.role
    model.take_role(Role(reference))
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    model.take_role(role)
    return logprobs
