"""Train a policy on single completions, good or bad, by KTO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from desktop_rlhf.adapters.batches import References, logprobs_under, micro_batches, tokens_at_once
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs, fitting, ids_of, start_adapter
from desktop_rlhf.policy.kto.loss import kto_loss, reference_point
from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event, Noted
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


@dataclass(frozen=True, slots=True)
class Example:
    """A judged completion as ids. ``number`` tells it from the others of the run."""

    number: int
    prompt_id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    desirable: bool


def train(spec: KtoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one KTO run; see ``runs.algorithm.Algorithm``.

    What counts as good and as bad, ties, flags and "both bad" among it, is in ``comparisons.pairs.judged_completions``.
    A batch that happens to hold no good or no bad completion gives no point to the curves that speak of it.

    Raises:
        NotEnoughDataError: there is no good completion, or no bad one.
    """
    model = inputs.model
    limit = min(spec.max_length, model.longest)
    judged, learned = fitting(model, inputs.judged, spec.max_length, inputs.left_out, stop)
    examples = _examples(model, judged)
    good = sum(example.desirable for example in examples)
    if not 0 < good < len(examples):
        raise NotEnoughDataError(
            f"KTO learns from good and bad completions; there are {good} good and {len(examples) - good} bad ones."
            f"{learned.why}",
            "Label some.",
        )
    yield from learned.notes
    yield Noted(f"{good} good completions and {len(examples) - good} bad ones to learn from.")
    policy, reference = start_adapter(
        inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter")
    )
    references = References(
        model, reference, [(example.prompt, [example.completion]) for example in examples], spec.max_length
    )

    at_once = tokens_at_once(model, spec.max_length)

    def parts(batch: Sequence[Example]) -> Iterator[Part]:
        others = zip(batch, mismatched(batch, limit), strict=True)
        strange = [(example.prompt, [other.completion]) for example, other in others if other is not None]
        gained: list[Tensor] = []
        for places in micro_batches(model, strange, at_once):
            packed = pack(strange[places.start : places.stop], model.device)
            ours, theirs = (logprobs_under(model, name, packed).sum(dim=-1) for name in (policy, reference))
            gained.append(ours - theirs)
            yield Part(None, work=len(places) / 2)
        numbers = [example.number for example in batch]
        for _ in references.compute(numbers):
            yield Part(None, work=0)
        point = reference_point(torch.cat(gained) if gained else torch.zeros(0, device=model.device))
        own = [(example.prompt, [example.completion]) for example in batch]
        for places in micro_batches(model, own, at_once):
            some = batch[places.start : places.stop]
            packed = pack(own[places.start : places.stop], model.device)
            logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
            log_ratios = (logprobs - references.of(numbers[places.start : places.stop])).sum(dim=-1)
            losses = kto_loss(
                log_ratios,
                torch.tensor([example.desirable for example in some]).to(model.device),
                point,
                beta=spec.beta,
                desirable_weight=spec.desirable_weight,
                undesirable_weight=spec.undesirable_weight,
            )
            measured = _rewards(batch, some, (spec.beta * log_ratios.detach()).tolist())
            measured["kl"] = point.item() * len(some) / len(batch)
            yield Part(losses.sum() / len(batch), measured, work=len(some) / 2)

    steps = yield from passes(
        inputs, spec, policy, examples, parts, stop,
        batch_size=spec.batch_size, epochs=spec.epochs, order=partial(spread, [e.desirable for e in examples]),
    )  # fmt: skip
    yield from saved(
        inputs, policy, reference, steps, {"desirable": good, "undesirable": len(examples) - good, **learned.report()}
    )


def spread(desirable: Sequence[bool], generator: torch.Generator) -> list[int]:
    """A random order in which good and bad stand evenly mixed, so that every batch holds its share of both."""
    places: dict[int, float] = {}
    for kind in (True, False):
        of_kind = [index for index, is_good in enumerate(desirable) if is_good is kind]
        for turn, at in enumerate(torch.randperm(len(of_kind), generator=generator).tolist()):
            places[of_kind[at]] = (turn + 0.5) / len(of_kind)
    return sorted(places, key=places.__getitem__)


def mismatched(batch: Sequence[Example], limit: int) -> list[Example | None]:
    """For every example the next one, going round, that answers another prompt and fits behind this one's.

    Where all prompts differ and are short this shifts the completions by one, as the paper does. None where there is no
    such example.
    """

    def fits(example: Example, other: Example) -> bool:
        return (
            other.prompt_id != example.prompt_id and len(example.prompt) + len(other.completion) <= limit
        )  # fmt: skip

    return [
        next((other for other in (*batch[place + 1 :], *batch[:place]) if fits(example, other)), None)
        for place, example in enumerate(batch)
    ]


def _examples(model: ResidentModel, judged: Sequence[JudgedCompletion]) -> list[Example]:
    return [
        Example(
            number,
            one.prompt.id,
            tuple(model.prompt_ids(one.prompt.messages)),
            tuple(ids_of(model, one.completion)),
            one.desirable,
        )
        for number, one in enumerate(judged)
    ]


def _rewards(batch: Sequence[Example], some: Sequence[Example], rewards: Sequence[float]) -> dict[str, float]:
    """What the rewards of some examples give to their batch's means, without those that the batch cannot have."""
    good = sum(example.desirable for example in batch)
    bad = len(batch) - good
    given: dict[str, float] = {}
    for example, reward in zip(some, rewards, strict=True):
        name, count = ("rewards/chosen", good) if example.desirable else ("rewards/rejected", bad)
        given[name] = given.get(name, 0.0) + reward / count
    if good and bad:
        given["rewards/margins"] = given.get("rewards/chosen", 0.0) - given.get("rewards/rejected", 0.0)
    return given
