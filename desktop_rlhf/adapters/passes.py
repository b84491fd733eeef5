"""Passes over stored examples: shuffled batches, one optimiser step each, and the saved adapter at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.checkpoint import State, restore_parameters
from desktop_rlhf.adapters.optimizer import AdamW, lay_out_gradients
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.events import AdapterSaved, Event, Halted, Planned, Progressed, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken

E = TypeVar("E")
TRAINING = "training"
"""The stage."""


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


@dataclass(frozen=True, slots=True)
class Head:
    """A weight trained beside the adapter, with a learning rate of its own."""

    weight: nn.Parameter
    learning_rate: float


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
    head: Head | None = None,
    decay: bool = False,
    afterwards: Mapping[str, float] | None = None,
) -> Generator[Event, None, int]:
    """Train ``policy`` on ``examples`` and return the number of steps taken.

    It goes on from the newest checkpoint where there is one. A step whose loss or gradient is NaN or infinite is not
    taken: ``Halted`` is said, and whoever goes on does so without that batch.

    Args:
        parts:      the micro-batches of a batch, each computed when it is asked for.
        order:      indices of the examples for one pass; by default every order is as likely.
        decay:      let the learning rates fall evenly to 0.
        afterwards: what the caller does afterwards: stages and their examples' worth of work.
    """
    model = inputs.model
    model.take_role(Role(policy, trainable=True))
    adapter = model.trainable_parameters()
    trained = [(adapter, spec.learning_rate)] + ([([head.weight], head.learning_rate)] if head else [])
    parameters = [parameter for own, _ in trained for parameter in own]
    optimizer = AdamW(trained)
    lay_out_gradients(parameters)
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    total_steps = -(-len(examples) // batch_size) * epochs
    work = {TRAINING: float(len(examples) * epochs)} | dict(afterwards or {})
    total_work = sum(work.values())
    yield Planned(work)
    at = _Place()

    def state() -> State:
        """Where the last step left everything; a batch that was begun and not stepped changed nothing of it."""
        return {
            "place": {name: getattr(at, name) for name in _Place.__slots__},
            "order": generator.get_state(),
            "parameters": parameters,
            "optimizer": optimizer.state(),
        }

    if (stored := inputs.checkpoints.load()) is not None:
        at = _Place(**stored["place"])
        generator.set_state(stored["order"])
        restore_parameters(parameters, stored["parameters"])
        optimizer.restore(stored["optimizer"])

    while at.epoch < epochs:
        if not at.turns:
            at.turns = list(order(generator) if order else torch.randperm(len(examples), generator=generator).tolist())
        while at.start < len(at.turns):
            computed = parts([examples[index] for index in at.turns[at.start : at.start + batch_size]])
            totals: dict[str, float] = {}
            done = float(at.epoch * len(examples) + at.start)
            while not stop.requested and (part := next(computed, None)) is not None:
                if part.loss is not None:
                    part.loss.backward()
                    totals["loss"] = totals.get("loss", 0.0) + part.loss.item()
                for name, value in part.metrics.items():
                    totals[name] = totals.get(name, 0.0) + float(value)
                done += part.work
                yield Progressed(TRAINING, done, total_work)
            if stop.requested:
                yield from inputs.checkpoints.keep(state)
                return at.step
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm).item()
            good = torch.isfinite(torch.tensor([totals["loss"], grad_norm])).all()
            if good:
                for group, (_, rate) in zip(optimizer.groups, trained, strict=True):
                    group.rate = rate * (1 - at.step / total_steps) if decay else rate
                optimizer.step()
                at.step += 1
            optimizer.zero_gradients()
            at.start += batch_size
            if good:
                yield StepTaken(at.step, total_steps, totals | {"grad_norm": grad_norm})
            if inputs.checkpoints.due or not good:
                yield from inputs.checkpoints.keep(state)
            if not good:
                yield Halted(
                    f"The loss or its gradient is not a number any more after step {at.step}.",
                    "Resume to go on without this batch, or stop to keep what was learned before it; then try a lower "
                    "learning rate.",
                )
        at.epoch, at.start, at.turns = at.epoch + 1, 0, []
    yield from inputs.checkpoints.keep(state)
    return at.step


@dataclass(slots=True)
class _Place:
    """How far the passes are, between two steps.

    Attributes:
        turns: the order of this pass; empty before it was drawn.
        start: the next batch's first place in it.
    """

    step: int = 0
    epoch: int = 0
    start: int = 0
    turns: list[int] = field(default_factory=list)


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
