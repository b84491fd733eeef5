"""What the engine hands to a training algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt

Example: TypeAlias = tuple[list[int], list[int]]
"""A prompt's ids and those of one completion."""


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """One run's inputs.

    Attributes:
        start_path:  the adapter that training continues from, None is the base; it is also the reference.
        groups:      comparisons to learn from.
        prompts:     training prompts, for algorithms that sample.
        reward_path: the reward model's folder, for algorithms that need one.
        output_path: where the new adapter goes; the folder does not exist yet.
        judged:      single completions called good or bad, for algorithms that learn from those.
        checkpoints: where the run writes down how far it is, and finds how far it was.
    """

    model: ResidentModel
    start_path: Path | None
    groups: tuple[PreferenceGroup, ...]
    prompts: tuple[Prompt, ...]
    reward_path: Path | None
    output_path: Path
    judged: tuple[JudgedCompletion, ...] = ()
    checkpoints: Checkpoints = field(default_factory=Checkpoints)


def start_policy(inputs: TrainingInputs, *, rank: int, alpha: int, seed: int) -> str:
    """Attach the adapter to be trained, new or a copy of the one to continue from, and return its name."""
    policy = f"policy-{inputs.output_path.name}"
    if inputs.start_path is None:
        inputs.model.new_adapter(policy, rank=rank, alpha=alpha, seed=seed)
    else:
        inputs.model.attach(policy, inputs.start_path)
    return policy


def start_adapter(inputs: TrainingInputs, *, rank: int, alpha: int, seed: int) -> tuple[str, str | None]:
    """Attach the adapter to be trained and the reference; return their names, None being the bare base.

    A run that continues from an adapter gets a copy of it to train and a second, frozen copy as its reference.
    """
    policy = start_policy(inputs, rank=rank, alpha=alpha, seed=seed)
    if inputs.start_path is None:
        return policy, None
    reference = f"reference-{inputs.output_path.name}"
    inputs.model.attach(reference, inputs.start_path)
    return policy, reference


def ids_of(model: ResidentModel, completion: Completion) -> list[int]:
    """The ids that were sampled, or those of the text when a person or a file supplied it."""
    return list(completion.completion_ids) or model.completion_ids(completion.text)


def fitting(
    model: ResidentModel, groups: Sequence[PreferenceGroup], max_length: int
) -> tuple[tuple[PreferenceGroup, ...], int]:
    """The groups whose prompt and longest completion fit into ``max_length`` tokens, and how many did not."""
    limit = min(max_length, model.longest)
    kept = []
    for group in groups:
        prompt, completions = group_ids(model, group)
        if len(prompt) + max(map(len, completions)) <= limit:
            kept.append(group)
    return tuple(kept), len(groups) - len(kept)


def group_ids(model: ResidentModel, group: PreferenceGroup) -> tuple[list[int], list[list[int]]]:
    """A preference group as ``packing.pack`` takes it."""
    return model.prompt_ids(group.prompt.messages), [ids_of(model, c) for c in group.completions]


def fitting_examples(
    model: ResidentModel, examples: Iterable[tuple[Prompt, Completion]], max_length: int
) -> tuple[list[Example], int]:
    """The ids of every prompt with one completion that fit into ``max_length`` tokens, and how many did not."""
    limit = min(max_length, model.longest)
    ids = [(model.prompt_ids(prompt.messages), ids_of(model, completion)) for prompt, completion in examples]
    kept = [(prompt, completion) for prompt, completion in ids if len(prompt) + len(completion) <= limit]
    return kept, len(ids) - len(kept)
