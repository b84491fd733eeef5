"""Train a policy on demonstrations and chosen completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from desktop_rlhf.adapters.batches import micro_batches, tokens_at_once
from desktop_rlhf.adapters.packing import completion_scores, hidden_states, pack
from desktop_rlhf.adapters.passes import Part, passes, saved
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import Example, TrainingInputs, fitting, ids_of, start_policy
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: SftSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one SFT run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: there is neither a demonstration nor a chosen completion.
    """
    model = inputs.model
    fit, learned = fitting(model, tuple(filter(spec.takes, inputs.judged)), spec.max_length, inputs.left_out, stop)
    examples = each_once(model, fit)
    if not examples:
        raise NotEnoughDataError(
            f"SFT learns from demonstrations and from what you chose; for “{spec.learn_from}” there is nothing yet."
            f"{learned.why}",
            "Import demonstrations for training, or label some.",
        )
    yield from learned.notes

    at_once = tokens_at_once(model, spec.max_length)

    def parts(batch: Sequence[Example]) -> Iterator[Part]:
        tokens = sum(len(completion) for _, completion in batch)  # every token of the batch weighs the same
        ids = [(prompt, [completion]) for prompt, completion in batch]
        for places in micro_batches(model, ids, at_once):
            packed = pack(ids[places.start : places.stop], model.device)
            scores = completion_scores(model, hidden_states(model, packed), packed)
            measured = {
                "mean_token_accuracy": scores.hits.sum() / tokens,
                "entropy": scores.entropy.sum() / tokens,
            }
            yield Part(-scores.logprobs.sum() / tokens, measured, work=len(places))

    policy = start_policy(inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    steps = yield from passes(
        inputs, spec, policy, examples, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs
    )
    yield from saved(inputs, policy, None, steps, {"completions": len(examples), **learned.report()})


def each_once(model: ResidentModel, judged: Iterable[JudgedCompletion]) -> list[Example]:
    """Their ids, in order; what a prompt is answered with twice is there once."""
    found: dict[tuple[str, str], JudgedCompletion] = {}
    for one in judged:
        found.setdefault((one.prompt.id, one.completion.text), one)
    return [(model.prompt_ids(one.prompt.messages), ids_of(model, one.completion)) for one in found.values()]
