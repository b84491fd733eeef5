"""What the engine hands to a training algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.runs.learned import Learned, Reason, sifted
from desktop_rlhf.runs.stop import NEVER, StopToken

Example: TypeAlias = tuple[list[int], list[int]]
"""A prompt's ids and those of one completion."""
Judged = TypeVar("Judged", PreferenceGroup, JudgedCompletion)


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
        left_out:    how much of what there was is not among all these, and why.
    """

    model: ResidentModel
    start_path: Path | None
    groups: tuple[PreferenceGroup, ...]
    prompts: tuple[Prompt, ...]
    reward_path: Path | None
    output_path: Path
    judged: tuple[JudgedCompletion, ...] = ()
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    left_out: Mapping[Reason, int] = field(default_factory=dict)


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
    model: ResidentModel,
    judged: Sequence[Judged],
    max_length: int,
    before: Mapping[Reason, int] | None = None,
    stop: StopToken = NEVER,
) -> tuple[tuple[Judged, ...], Learned]:
    """Those whose prompt and longest completion fit into ``max_length`` tokens, and the count.

    Args:
        before: what was left out already.

    Raises:
        StoppedError: ``stop`` was requested; of very many it takes long to read them all into tokens.
    """
    limit = min(max_length, model.longest)

    def why(one: Judged) -> Reason | None:
        prompt = len(model.prompt_ids(one.prompt.messages))
        if prompt >= limit:
            return Reason.PROMPT_TOO_LONG
        longest = max(len(ids_of(model, completion)) for completion in _completions(one))
        return Reason.TOO_LONG if prompt + longest > limit else None

    kept, learned = sifted(judged, lambda one: one.comparison_id, why, before or {}, stop)
    cut = {(one.prompt.id, c.text) for one in kept for c in _completions(one) if not c.ended}
    single = any(isinstance(one, JudgedCompletion) for one in judged)
    return kept, replace(learned, cut=len(cut), what="judgement" if single else "comparison")


def _completions(judged: PreferenceGroup | JudgedCompletion) -> tuple[Completion, ...]:
    return judged.completions if isinstance(judged, PreferenceGroup) else (judged.completion,)


def group_ids(model: ResidentModel, group: PreferenceGroup) -> tuple[list[int], list[list[int]]]:
    """A preference group as ``packing.pack`` takes it."""
    return model.prompt_ids(group.prompt.messages), [ids_of(model, c) for c in group.completions]
