"""A small part of what a run learns from that tells of the whole: some of every length, and the largest together."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from desktop_rlhf.adapters.batches import micro_batches, tokens_at_once
from desktop_rlhf.adapters.packing import opening_of, shares_openings
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs, fitting, ids_of
from desktop_rlhf.policy.rollout import rollout_tokens, usable_prompts
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.stop import NEVER, StopToken

FEW = 12
"""Examples that tell of all others, when there is one of every length among them."""


@dataclass(frozen=True, slots=True)
class Example:
    """One of what a run learns from.

    Attributes:
        source: a comparison, a judged completion or a prompt.
        prompt: its ids.
        behind: tokens of the completions behind it.
        kind:   of which the part has some where the whole has.
    """

    source: Any
    prompt: array[int]
    behind: int
    kind: bool = True

    @property
    def tokens(self) -> int:
        """That go through the model for it in one pass."""
        return len(self.prompt) + self.behind


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything that a run learns from, shortest first.

    Attributes:
        name:  the field of its inputs.
        batch: how many go into one step.
    """

    inputs: TrainingInputs
    name: str
    examples: Sequence[Example]
    batch: int
    most_tokens: int

    @classmethod
    def of(cls, spec: LoraSpec, inputs: TrainingInputs, stop: StopToken = NEVER) -> Whole:
        """What fits into the run's limits of it; the rest is left out by the run as well.

        Raises:
            StoppedError: ``stop`` was requested.
        """
        if isinstance(spec, RolloutSpec):
            name, examples = "prompts", _prompts(spec, inputs, stop)
            batch, most = spec.prompts_per_update, rollout_tokens(inputs.model, spec)
        else:
            name = "judged" if inputs.judged else "groups"
            examples = _stored(spec, inputs, stop)
            batch = int(spec.as_settings().get("batch_size", 1))
            most = tokens_at_once(inputs.model, spec.max_length)
        return cls(inputs, name, sorted(examples, key=lambda one: one.tokens), batch, most)

    @property
    def tokens(self) -> float:
        """Mean tokens of an example."""
        return fmean(one.tokens for one in self.examples)

    def part(self, examples: Sequence[Example]) -> Whole:
        """The same run with other examples."""
        kept = tuple(one.source for one in examples)
        fields: dict[str, Any] = {self.name: kept}
        return replace(self, inputs=replace(self.inputs, **fields), examples=examples)

    def spread(self) -> Iterator[Whole]:
        """Some of every length and kind, then ever more, and everything at last."""
        few = self.batch if self.name == "prompts" else -(-FEW // self.batch) * self.batch if self.batch < FEW else FEW
        while few < len(self.examples):
            yield self.part(_spread(self.examples, few))
            few *= 2
        yield self

    def largest(self) -> Whole:
        """One batch of neighbours in length in which most goes through the model at once.

        Completions of one prompt stand apart in a run's order, and share nothing then; so each prompt gives its longest
        example, where there are enough prompts.
        """
        longest = {one.prompt.tobytes(): one for one in self.examples}
        apart = sorted(longest.values(), key=lambda one: one.tokens)
        examples = apart if len(apart) >= self.batch else self.examples
        ends = range(len(examples), 0, -self.batch)
        batches = [examples[max(0, end - self.batch) : end] for end in ends]
        return self.part(max(batches, key=self._at_once))

    def _at_once(self, batch: Sequence[Example]) -> tuple[int, int]:
        """Tokens that are computed in the largest micro-batch, and those of all."""
        ids = [(one.prompt, [range(one.behind)]) for one in batch]
        places = micro_batches(self.inputs.model, ids, self.most_tokens)
        together = [self._computed(batch[own.start : own.stop]) for own in places]
        return max(together), sum(together)

    def _computed(self, examples: Sequence[Example]) -> int:
        model = self.inputs.model
        once = opening_of([one.prompt for one in examples], model.device) if shares_openings(model) else 0
        return sum(one.tokens for one in examples) - once * (len(examples) - 1)


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """About ``count`` of the examples at even distances, of each kind its share and at least one."""
    found: list[Example] = []
    for kind in (True, False):
        own = [one for one in examples if one.kind is kind]
        if own:
            few = min(len(own), max(1, round(count * len(own) / len(examples))))
            found += [own[int((place + 0.5) * len(own) / few)] for place in range(few)]
    return found


def _stored(spec: LoraSpec, inputs: TrainingInputs, stop: StopToken) -> list[Example]:
    model = inputs.model
    judged, _ = fitting(model, tuple(filter(spec.takes, inputs.judged)), spec.max_length, stop=stop)
    groups, _ = fitting(model, inputs.groups, spec.max_length, stop=stop)
    return [Example(one, *_ids(model, one), one.desirable) for one in judged] + [
        Example(one, *_ids(model, one)) for one in groups
    ]


def _prompts(spec: RolloutSpec, inputs: TrainingInputs, stop: StopToken) -> list[Example]:
    model, written = inputs.model, spec.completions_per_prompt * spec.max_new_tokens
    usable, _ = usable_prompts(spec, model, inputs.prompts, {}, stop)
    return [Example(prompt, _kept(model.prompt_ids(prompt.messages)), written) for prompt in usable]


def _kept(ids: Sequence[int]) -> array[int]:
    """A prompt's ids in little memory: there may be very many prompts."""
    return array("i", ids)


def _ids(model: ResidentModel, one: PreferenceGroup | JudgedCompletion) -> tuple[array[int], int]:
    """Of its prompt, and how many there are of the completions."""
    completions = one.completions if isinstance(one, PreferenceGroup) else (one.completion,)
    behind = sum(len(ids_of(model, completion)) for completion in completions)
    return _kept(model.prompt_ids(one.prompt.messages)), behind
