"""Micro-batches: stored examples that go through the model together, and what the reference says of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from desktop_rlhf.adapters.packing import (
    Packed,
    alike,
    completion_logprobs,
    hidden_states,
    pack,
    shares_openings,
)
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import group_ids
from desktop_rlhf.numerics.logprobs import mean_logprobs
from desktop_rlhf.records.comparisons import PreferenceGroup

MOST_TOKENS = 512
"""In one forward in float32. More of them gain nothing where few already fill the processor, and cost memory and
patience."""

IN_BFLOAT16 = 3
"""Times as many in bfloat16, where each takes half the memory and it takes more of them to keep a matrix unit busy."""

ON_CUDA = 8192
"""At most on a card, in either format; fewer do not fill a large one."""
VALUES = 16
"""Kept of each token for the backward, in every layer and for every value of a hidden state: 32 bytes in bfloat16 were
measured with a model of 1.5 billion weights."""
SHARE = 0.5
"""Of what the weights leave of a card; the rest is for padding, the vocabulary and other programs."""

SEEN = 16
"""So many tokens of an opening count as one in each further row, which sees them and does not compute them: attention
keeps something of them for it."""

Ids: TypeAlias = tuple[Sequence[int], Sequence[Sequence[int]]]
"""Of a prompt, and of each completion behind it."""


def tokens_at_once(model: ResidentModel, max_length: int, most: int | None = None) -> int:
    """How many tokens may share a forward.

    On the CPU it is ``most``, by default ``MOST_TOKENS``, and no more than ``max_length``, in bfloat16 ``IN_BFLOAT16``
    times as many. On CUDA it is what a card of that size has room for, beside the model.
    """
    if model.device.type == "cuda":
        return tokens_on_a_card(model, torch.cuda.get_device_properties(model.device).total_memory)
    return min(most or MOST_TOKENS, max_length) * (IN_BFLOAT16 if model.base.dtype == torch.bfloat16 else 1)


def tokens_on_a_card(model: ResidentModel, total: int) -> int:
    """How many share a forward on a card with ``total`` bytes, held or free: it is the same in every run there."""
    config, size = model.base.config.get_text_config(), model.base.dtype.itemsize
    of_token = VALUES * config.num_hidden_layers * config.hidden_size * size
    return max(1, min(ON_CUDA, int(SHARE * (total - model.parameters * size) / of_token)))


def micro_batches(model: ResidentModel, examples: Sequence[Ids], most: int) -> list[range]:
    """Places of neighbouring examples that go through the model together; one of more than ``most`` tokens goes alone.

    There are as few as ``most`` tokens in each allow, and with so few the largest, which takes most memory, has as few
    tokens as can be. Where the forward computes an opening once, it counts little in the rows but the first. Where it
    does not pack, a prompt counts for each of its completions.
    """
    sizes = [
        len(prompt) * (1 if model.packs else len(completions)) + sum(map(len, completions))
        for prompt, completions in examples
    ]
    shared = [0] * len(sizes)
    if shares_openings(model):
        common = (alike(one, other) for (one, _), (other, _) in pairwise(examples))
        shared[1:] = [count - count // SEEN for count in common]
    fewest = len(_filled(sizes, shared, most))
    enough = bisect_left(range(most), True, key=lambda limit: len(_filled(sizes, shared, limit)) == fewest)
    return _filled(sizes, shared, enough)


def _filled(sizes: Sequence[int], shared: Sequence[int], limit: int) -> list[range]:
    """One micro-batch after another, each as full as ``limit`` tokens allow.

    Args:
        shared: how many tokens each example is spared behind the one before it, as their prompts begin alike.
    """
    start, tokens, opening = 0, 0, inf
    found = []
    for place, size in enumerate(sizes):
        common = min(opening, shared[place]) if place > start else inf
        if place > start and tokens + size - (place - start) * common > limit:
            found.append(range(start, place))
            start, tokens, common = place, 0, inf
        tokens, opening = tokens + size, common
    return [*found, range(start, len(sizes))] if sizes else []


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """Comparisons packed for one forward: N completions and P pairs in all.

    Attributes:
        pairs:   [P, 2] (chosen, rejected) as indices into the N completions.
        weights: [P] what each pair counts, so that every comparison counts 1 however many pairs it has.

    Source: K-wise mean as in Ouyang et al., "InstructGPT" (2022), section 3.5.
    """

    groups: tuple[PreferenceGroup, ...]
    packed: Packed
    pairs: Tensor
    weights: Tensor

    @classmethod
    def of(cls, model: ResidentModel, groups: Sequence[PreferenceGroup], ids: Sequence[Ids]) -> GroupBatch:
        """Pack some comparisons, each with its prompt read once; ``ids`` are theirs."""
        pairs, weights, before = [], [], 0
        for group in groups:
            pairs += [(before + better, before + worse) for better, worse in group.pairs]
            weights += [1 / len(group.pairs)] * len(group.pairs)
            before += len(group.completions)
        packed = pack(ids, model.device)
        places, counts = torch.tensor(pairs).to(model.device), torch.tensor(weights).to(model.device)
        return cls(tuple(groups), packed, places, counts)

    @property
    def sizes(self) -> list[int]:
        """How many completions each comparison has."""
        return [len(group.completions) for group in self.groups]

    def paired(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """[P] of the chosen and [P] of the rejected, from [N] values of the completions."""
        chosen, rejected = values[self.pairs].unbind(dim=-1)
        return chosen, rejected

    def total(self, values: Tensor) -> Tensor:
        """Sum over the comparisons of the mean of [P] values over each one's pairs."""
        return (self.weights * values).sum()

    def by_pair(self, of_group: Sequence[float]) -> Tensor:
        """[P] for every pair what its comparison has."""
        values = [value for group, value in zip(self.groups, of_group, strict=True) for _ in group.pairs]
        return torch.tensor(values).to(self.weights.device)


def group_batches(
    model: ResidentModel, groups: Sequence[PreferenceGroup], max_length: int
) -> Iterator[tuple[range, GroupBatch]]:
    """The micro-batches of some comparisons with their places, each packed when it is asked for."""
    examples = [group_ids(model, group) for group in groups]
    for places in micro_batches(model, examples, tokens_at_once(model, max_length)):
        own = slice(places.start, places.stop)
        yield places, GroupBatch.of(model, groups[own], examples[own])


def pair_means(model: ResidentModel, batch: GroupBatch) -> tuple[Tensor, Tensor]:
    """[P] chosen and [P] rejected, each the mean of its completion's token log-probabilities (nats per token) under the
    model's present role."""
    logprobs = completion_logprobs(model, hidden_states(model, batch.packed), batch.packed)
    return batch.paired(mean_logprobs(logprobs, batch.packed.mask))


class References:
    """Log-probabilities under the frozen start, each computed once.

    Sums are rounded by what goes through the model together. What does so here depends on the data, on how the model
    computes them and on a card's size, and not on the order of training, so that a run that goes on finds the same
    references to the last bit.

    Args:
        reference: the adapter that is the frozen start; None is the base.
    """

    def __init__(self, model: ResidentModel, reference: str | None, examples: Sequence[Ids], max_length: int) -> None:
        self._model = model
        self._reference = reference
        self._examples = examples
        self._chunks = micro_batches(model, examples, tokens_at_once(model, max_length))
        self._chunk_of = {number: places for places in self._chunks for number in places}
        self._kept: dict[int, list[Tensor]] = {}

    def compute(self, numbers: Sequence[int]) -> Iterator[None]:
        """Compute what is missing of some examples; gives control back after each forward."""
        for number in numbers:
            if number not in self._kept:
                self._keep(self._chunk_of[number])
                yield

    def of(self, numbers: Sequence[int]) -> Tensor:
        """[N, C] nats of the completions of some examples, 0 at padding; they were computed before."""
        return pad_sequence([row for number in numbers for row in self._kept[number]], batch_first=True)

    def _keep(self, places: range) -> None:
        packed = pack(self._examples[places.start : places.stop], self._model.device)
        rows = [
            row[mask]
            for row, mask in zip(logprobs_under(self._model, self._reference, packed), packed.mask, strict=True)
        ]
        for number in places:
            count = len(self._examples[number][1])
            self._kept[number], rows = rows[:count], rows[count:]


@torch.no_grad()
def logprobs_under(model: ResidentModel, adapter: str | None, packed: Packed) -> Tensor:
    """[N, C] nats under an adapter, or under the base; the model's role is put back."""
    role = model.role
    model.take_role(Role(adapter))
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    model.take_role(role)
    return logprobs
