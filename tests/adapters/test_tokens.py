"""Which ids a conversation and a completion become."""

from __future__ import annotations

import random

import pytest
from tokenizers.processors import TemplateProcessing

from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.training import group_ids, ids_of
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt

TRICKY = ["a", "é", "😀", " ", "\n", "\t", "<", "s", ">", "</s", "0", "'", "ß", "漢", "\u200d", "\u0301"]


def completion(text: str, ids: tuple[int, ...] = (), ended: bool = True) -> Completion:
    return Completion("c", "p", "g", None, text, ids, ended=ended, sampler=Sampler(), seed=0)


def random_text(rng: random.Random, longest: int) -> str:
    return "".join(rng.choice(TRICKY) for _ in range(rng.randint(1, longest)))


def test_that_the_ids_learned_from_are_the_ids_that_were_sampled(llama) -> None:
    """Of any tokens, also such as make no valid text, which could never be found again from the text."""
    rng = random.Random(0)
    prompt = Prompt("p", (Message("user", "q"),))
    told_apart = 0
    for _ in range(1000):
        sampled = tuple(rng.choices(range(258), k=rng.randint(1, 12)))
        spoken = completion(llama.completion_text(sampled), sampled)
        packed = pack([group_ids(llama, PreferenceGroup("c", prompt, (spoken,), ((0, 0),)))])
        assert tuple(packed.targets[packed.mask].tolist()) == sampled
        told_apart += tuple(llama.completion_ids(spoken.text)) != sampled
    assert told_apart > 900  # what it would have cost to read the text instead


def test_that_a_prompt_is_the_beginning_of_what_is_learned_from(llama) -> None:
    """Whatever is answered, and the two together are the conversation as the template writes it."""
    rng = random.Random(1)
    for _ in range(2000):
        question, chosen, rejected = (random_text(rng, 8) for _ in range(3))
        prompt = Prompt("p", (Message("user", question),))
        group = PreferenceGroup("c", prompt, (completion(chosen), completion(rejected)), ((0, 1),))
        prompt_ids, both = group_ids(llama, group)
        for text, ids in zip((chosen, rejected), both, strict=True):
            whole = llama.tokenizer.decode([*prompt_ids, *ids])
            assert whole == f"<s>user\n{question}</s>\n<s>assistant\n{text}</s>"


@pytest.mark.parametrize(
    "conversation",
    [
        [Message("user", "hi")],
        [Message("system", "be short"), Message("user", "hi")],
        [Message("user", "hi"), Message("assistant", "yes"), Message("user", "why")],
    ],
)
@pytest.mark.parametrize("raw", [False, True], ids=["template", "none"])
def test_that_a_conversation_begins_once_though_the_tokenizer_adds_a_beginning(llama, conversation, raw) -> None:
    """A template writes its own; where there is none, the tokenizer's is taken. A completion has none."""
    llama.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    llama.tokenizer.chat_template = (
        None
        if raw
        else (
            "<s>{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}"
        )
    )
    ids = llama.prompt_ids(conversation)
    assert ids.count(0) == 1
    assert ids[0] == 0
    said = [m.content for m in conversation] if raw else [f"{m.role}: {m.content}" for m in conversation]
    wanted = "\n\n".join([*said, ""]) if raw else "\n".join([*said, "assistant: "])
    assert llama.tokenizer.decode(ids) == "<s>" + wanted
    assert llama.completion_ids("yes").count(0) == 0


def test_that_a_written_completion_is_learned_from_as_one_that_was_sampled_and_ended(llama) -> None:
    sampled = tuple(llama.tokenizer("yes", add_special_tokens=False)["input_ids"]) + (llama.tokenizer.eos_token_id,)
    assert ids_of(llama, completion("yes")) == ids_of(llama, completion("yes", sampled)) == list(sampled)


def test_that_a_completion_that_was_cut_gets_no_end(llama) -> None:
    cut = tuple(llama.tokenizer("yes", add_special_tokens=False)["input_ids"])
    assert ids_of(llama, completion("yes", cut, ended=False)) == list(cut)
