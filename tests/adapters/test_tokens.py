"""How a completion ends, whoever wrote it."""

from __future__ import annotations

from desktop_rlhf.adapters.training import ids_of
from desktop_rlhf.records.completions import Completion, Sampler


def completion(text: str, ids: tuple[int, ...] = (), ended: bool = True) -> Completion:
    return Completion("c", "p", "g", None, text, ids, ended=ended, sampler=Sampler(), seed=0)


def test_that_a_written_completion_is_learned_from_as_one_that_was_sampled_and_ended(llama) -> None:
    sampled = tuple(llama.tokenizer("yes", add_special_tokens=False)["input_ids"]) + (llama.tokenizer.eos_token_id,)
    assert ids_of(llama, completion("yes")) == ids_of(llama, completion("yes", sampled)) == list(sampled)


def test_that_a_completion_that_was_cut_gets_no_end(llama) -> None:
    cut = tuple(llama.tokenizer("yes", add_special_tokens=False)["input_ids"])
    assert ids_of(llama, completion("yes", cut, ended=False)) == list(cut)
