"""Completions, and the settings they were sampled with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampler:
    """How tokens are drawn. At the default temperature a small model makes sense and its completions still differ.

    Attributes:
        temperature:    logits are divided by it; 0 picks the likeliest token.
        top_p:          smallest set of tokens holding this probability; 1 keeps all.
        top_k:          keep the k likeliest tokens; 0 keeps all.
        max_new_tokens: a completion is cut after this many tokens.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 96


@dataclass(frozen=True, slots=True)
class Completion:
    """What an adapter said to a prompt.

    Attributes:
        id:             UUID hex.
        group_id:       completions sampled together for one labelling share it.
        adapter_id:     None is the base model.
        completion_ids: the sampled token ids, the end token included when there is one.
        ended:          True when the model ended by itself, False when it was cut.
        seed:           with the prompt, the adapter and the sampler it gives these ids again.
    """

    id: str
    prompt_id: str
    group_id: str
    adapter_id: str | None
    text: str
    completion_ids: tuple[int, ...]
    ended: bool
    sampler: Sampler
    seed: int
    created_at: str = ""
