"""Train a policy on the chosen completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from desktop_rlhf.adapters.batches import micro_batches
from desktop_rlhf.adapters.packing import completion_logits, hidden_states, pack
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.training import Example, TrainingInputs, fitting_examples, start_policy
from desktop_rlhf.policy.sft.loss import token_entropies, token_hits, token_losses
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.runs.events import Event, Noted
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: SftSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one SFT run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is no comparison with a winner.
    """
    model = inputs.model
    examples, too_long = fitting_examples(model, best_completions(inputs.groups), spec.max_length)
    if not examples:
        raise NotEnoughDataError("SFT learns from what you chose, and there is nothing chosen yet.", "Label some.")
    if too_long:
        yield Noted(f"{too_long} completions are longer than {spec.max_length} tokens and were left out.")

    def parts(batch: Sequence[Example]) -> Iterator[Part]:
        tokens = sum(len(completion) for _, completion in batch)  # every token of the batch weighs the same
        ids = [(prompt, [completion]) for prompt, completion in batch]
        for places in micro_batches(ids, spec.max_length):
            packed = pack(ids[places.start : places.stop])
            logits = completion_logits(model, hidden_states(model, packed), packed)
            targets = packed.targets[packed.mask]
            with torch.no_grad():
                measured = {
                    "mean_token_accuracy": token_hits(logits, targets).sum() / tokens,
                    "entropy": token_entropies(logits).sum() / tokens,
                }
            yield Part(token_losses(logits, targets).sum() / tokens, measured, work=len(places))

    policy = start_policy(inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    steps = yield from passes(
        inputs, spec, policy, examples, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs
    )
    yield from saved(inputs, policy, None, steps, {"completions": len(examples)})


def best_completions(groups: Sequence[PreferenceGroup]) -> list[tuple[Prompt, Completion]]:
    """What no other completion of its comparison was preferred to, with its prompt; the same answer only once."""
    best: dict[tuple[str, str], tuple[Prompt, Completion]] = {}
    for group in groups:
        beaten = {worse for _, worse in group.pairs}
        for place, completion in enumerate(group.completions):
            if place not in beaten:
                best.setdefault((group.prompt.id, completion.text), (group.prompt, completion))
    return list(best.values())
