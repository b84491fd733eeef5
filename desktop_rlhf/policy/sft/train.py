"""Train a policy on the chosen completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from desktop_rlhf.adapters.packing import completion_logits, hidden_states, pack
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import Example, TrainingInputs, fitting, ids_of, start_policy
from desktop_rlhf.policy.sft.loss import token_entropies, token_hits, token_losses
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: SftSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one SFT run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    model = inputs.model
    best, learned = fitting(model, best_completions(inputs.groups), spec.max_length, inputs.left_out)
    examples = _examples(model, best)
    if not examples:
        raise NotEnoughDataError(
            f"SFT learns from what you chose, and there is nothing chosen yet.{learned.why}", "Label some."
        )
    yield from learned.notes

    def parts(batch: Sequence[Example]) -> Iterator[Part]:
        tokens = sum(len(completion) for _, completion in batch)  # every token of the batch weighs the same
        for prompt, completion in batch:
            packed = pack([(prompt, [completion])])
            logits = completion_logits(model, hidden_states(model, packed), packed)
            targets = packed.targets[packed.mask]
            with torch.no_grad():
                measured = {
                    "mean_token_accuracy": token_hits(logits, targets).sum() / tokens,
                    "entropy": token_entropies(logits).sum() / tokens,
                }
            yield Part(token_losses(logits, targets).sum() / tokens, measured)

    policy = start_policy(inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    steps = yield from passes(
        inputs, spec, policy, examples, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs
    )
    yield from saved(inputs, policy, None, steps, {"completions": len(examples), **learned.report()})


def best_completions(groups: Sequence[PreferenceGroup]) -> list[JudgedCompletion]:
    """What no other completion of its comparison was preferred to."""
    return [
        JudgedCompletion(group.comparison_id, group.prompt, completion, desirable=True)
        for group in groups
        for place, completion in enumerate(group.completions)
        if place not in {worse for _, worse in group.pairs}
    ]


def _examples(model: ResidentModel, best: Sequence[JudgedCompletion]) -> list[Example]:
    """Their ids; an answer that several comparisons chose only once."""
    first = {(one.prompt.id, one.completion.text): one for one in reversed(best)}
    return [
        (model.prompt_ids(one.prompt.messages), ids_of(model, one.completion))
        for one in best
        if first[one.prompt.id, one.completion.text] is one
    ]
