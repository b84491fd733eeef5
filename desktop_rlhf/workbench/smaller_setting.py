"""After a run took more memory than there is: a smaller setting, found by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch

from desktop_rlhf.adapters.batches import tokens_at_once
from desktop_rlhf.adapters.decoding import decoder
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack, shares_openings
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs, group_ids, ids_of
from desktop_rlhf.completions.sampling import most_rows
from desktop_rlhf.policy.rollout import rollout_tokens
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.spec import AlgorithmSpec

SAID = ("not enough memory", "MPS backend out of memory")
WRITTEN = "max_new_tokens"
SHORTEST = 8  # tokens; less is no training

Size: TypeAlias = tuple[int, int, int]
"""Tokens of a prompt, tokens of its longest completion, number of completions."""
Rows: TypeAlias = tuple[Size, int]
"""What goes through the model together: so many examples of a size."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library says so, in whichever of its ways."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in SAID)


def smaller_setting(spec: AlgorithmSpec, inputs: TrainingInputs) -> str:
    """A sentence with a setting whose largest training step was just tried and fits; without one, it says so."""
    assert isinstance(spec, LoraSpec)
    model = inputs.model
    model.new_adapter("trial", rank=spec.lora_rank, alpha=spec.lora_alpha, seed=0)
    try:
        for name, value, largest in _candidates(spec, inputs):
            if all(_fits(model, *rows) for rows in largest) and (name != WRITTEN or _writes(spec, inputs, value)):
                return f"Set {name} to {value}: a step of that size was tried and fits."
    finally:
        model.detach("trial")
    return "Not even a short example fits: close other programs, or choose a smaller model."


def _candidates(spec: LoraSpec, inputs: TrainingInputs) -> Iterator[tuple[str, int, list[Rows]]]:
    """(setting, value, the largest micro-batches under it), ever smaller."""
    settings = spec.as_settings()
    if isinstance(spec, RolloutSpec):
        most = rollout_tokens(inputs.model, spec)
        prompt = _longest_prompt(inputs)
        value = int(settings[WRITTEN])
        while (value := value * 3 // 4) >= SHORTEST:
            copies, prompts = int(settings["completions_per_prompt"]), int(settings["prompts_per_update"])
            together = _together(inputs.model, most, prompt + value * copies, prompts)
            yield WRITTEN, value, [((prompt, value, copies), together)]
        return
    sizes = sorted(_sizes(inputs), key=lambda size: size[0] + size[1])
    lengths = [prompt + completion for prompt, completion, _ in sizes if prompt + completion <= spec.max_length]
    shares = (lengths[int(share * (len(lengths) - 1))] for share in (0.9, 0.75, 0.5, 0.25, 0.1, 0.0))
    for value in dict.fromkeys(length for length in shares if length < lengths[-1]):
        kept = (size for size in sizes if size[0] + size[1] <= value)
        alone = max(kept, key=lambda size: size[0] + size[1] * size[2])
        # A forward that several share, at worst each completion of a step with as much before it as is allowed.
        rows = int(settings["batch_size"]) * alone[2]
        together = _together(inputs.model, tokens_at_once(inputs.model, value), value, rows)
        yield "max_length", value, [(alone, 1), ((1, value - 1, 1), together)]


def _together(model: ResidentModel, most: int, size: int, rows: int) -> int:
    """How many examples of ``size`` tokens are tried in one forward, of at most ``rows``.

    Where prompts may share what they begin with, it is one more than goes without: what they share makes room for
    others, and as many as ``most`` tokens are computed.
    """
    filled = -(-most // size) if shares_openings(model) else most // size
    return max(1, min(filled, rows))


def _longest_prompt(inputs: TrainingInputs) -> int:
    return max(len(inputs.model.prompt_ids(prompt.messages)) for prompt in inputs.prompts)


def _writes(spec: LoraSpec, inputs: TrainingInputs, tokens: int) -> bool:
    """Whether the memory that writing so many tokens takes can be laid out."""
    settings, longest = spec.as_settings(), _longest_prompt(inputs) + tokens
    copies = int(settings["completions_per_prompt"])
    rows = most_rows(copies * int(settings["prompts_per_update"]), copies, longest)
    return _without_running_out(lambda: decoder(inputs.model, "trial", rows, longest))


def _without_running_out(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _sizes(inputs: TrainingInputs) -> Iterator[Size]:
    """Of every stored example: the judged completions where the run learns from those, else the comparisons."""
    model = inputs.model
    for judged in inputs.judged:
        yield len(model.prompt_ids(judged.prompt.messages)), len(ids_of(model, judged.completion)), 1
    for group in inputs.groups if not inputs.judged else ():
        prompt, completions = group_ids(model, group)
        yield len(prompt), max(map(len, completions)), len(completions)


def _fits(model: ResidentModel, size: Size, rows: int) -> bool:
    """Whether one forward and backward of so many examples, over made-up ids, goes through."""
    model.take_role(Role("trial", trainable=True))
    prompt, completion, count = size
    # Prompts that begin alike would be computed in part only.
    packed = pack([([row % 2] * max(prompt, 1), [[0] * completion] * count) for row in range(rows)], model.device)
    return _without_running_out(
        lambda: completion_logprobs(model, hidden_states(model, packed), packed).sum().backward()
    )
