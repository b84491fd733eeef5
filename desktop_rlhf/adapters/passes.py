"""Passes over stored examples: shuffled batches, one optimiser step each, and the saved adapter at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.errors import NotFiniteError
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.events import AdapterSaved, Event, Progressed, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Part:
    """What one micro-batch gives to its batch; the parts of a batch are added up.

    Attributes:
        loss:    its share of the batch's loss, or None where nothing is learned from it.
        metrics: its share of every curve's value.
        work:    how many examples' worth of work it was.
    """

    loss: Tensor | None
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)
    work: float = 1.0


def passes(
    inputs: TrainingInputs,
    spec: LoraSpec,
    policy: str,
    examples: Sequence[E],
    parts: Callable[[Sequence[E]], Iterator[Part]],
    stop: StopToken,
    *,
    batch_size: int,
    epochs: int,
    order: Callable[[torch.Generator], Sequence[int]] | None = None,
) -> Generator[Event, None, int]:
    """Train ``policy`` on ``examples`` and return the number of steps taken.

    Args:
        parts: the micro-batches of a batch, each computed when it is asked for.
        order: indices of the examples for one pass; by default every order is as likely.

    Raises:
        NotFiniteError: the loss or a gradient became NaN or infinite; the step is not taken.
    """
    model = inputs.model
    model.take_role(Role(policy, trainable=True))
    parameters = model.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    total_steps = -(-len(examples) // batch_size) * epochs
    step, done = 0, 0.0
    for _ in range(epochs):
        turns = order(generator) if order else torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(turns), batch_size):
            computed = parts([examples[index] for index in turns[start : start + batch_size]])
            totals: dict[str, float] = {}
            while not stop.requested and (part := next(computed, None)) is not None:
                if part.loss is not None:
                    part.loss.backward()
                    totals["loss"] = totals.get("loss", 0.0) + part.loss.item()
                for name, value in part.metrics.items():
                    totals[name] = totals.get(name, 0.0) + float(value)
                done += part.work
                yield Progressed("training", done, len(examples) * epochs)
            if stop.requested:
                return step
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm).item()
            if not torch.isfinite(torch.tensor([totals["loss"], grad_norm])).all():
                raise NotFiniteError("The loss or its gradient is not a number any more.", "Lower the learning rate.")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            yield StepTaken(step, total_steps, totals | {"grad_norm": grad_norm})
    return step


def saved(
    inputs: TrainingInputs, policy: str, reference: str | None, steps: int, report: Mapping[str, object]
) -> Iterator[Event]:
    """Save ``policy`` and detach it and its reference; a run stopped before its first step leaves no adapter."""
    sha256 = inputs.model.save_adapter(policy, inputs.output_path) if steps else None
    inputs.model.detach(policy)
    if reference is not None:
        inputs.model.detach(reference)
    if sha256:
        yield AdapterSaved(str(inputs.output_path), sha256, {"steps": steps, **report})
