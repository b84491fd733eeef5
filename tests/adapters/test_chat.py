"""What is shown is what is trained on, whatever the chat template."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desktop_rlhf.adapters.chat import Chat, folded
from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import group_ids
from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.gui.widgets.prompt_text import prompt_text
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.stop import StopToken

SINGLE = (Message("user", "hi there"),)
SYSTEM = (Message("system", "be short"), *SINGLE)
TURNS = (*SINGLE, Message("assistant", "yes"), Message("user", "why"))

GOLDEN = {
    "ChatML": (
        "<|im_start|>user\nhi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\nhi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nhi there<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>user\nwhy<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi there<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nbe short<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nhi there<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi there<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nyes<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nwhy<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "Gemma": (
        "<bos><start_of_turn>user\nhi there<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\nbe short\n\nhi there<end_of_turn>\n<start_of_turn>model\n",
        "<bos><start_of_turn>user\nhi there<end_of_turn>\n<start_of_turn>model\nyes<end_of_turn>\n"
        "<start_of_turn>user\nwhy<end_of_turn>\n<start_of_turn>model\n",
    ),
    "Phi": (
        "<|user|>\nhi there<|end|>\n<|assistant|>\n",
        "<|user|>\nbe short\n\nhi there<|end|>\n<|assistant|>\n",
        "<|user|>\nhi there<|end|>\n<|assistant|>\nyes<|end|>\n<|user|>\nwhy<|end|>\n<|assistant|>\n",
    ),
    "Zephyr": (
        "<|user|>\nhi there</s>\n<|assistant|>\n",
        "<|system|>\nbe short</s>\n<|user|>\nhi there</s>\n<|assistant|>\n",
        "<|user|>\nhi there</s>\n<|assistant|>\nyes</s>\n<|user|>\nwhy</s>\n<|assistant|>\n",
    ),
    "none": (
        "<s>hi there\n\n",
        "<s>be short\n\nhi there\n\n",
        "<s>hi there\n\nyes\n\nwhy\n\n",
    ),
}

WORDS = (
    "the", " ", "  ", "\n", "\n\n", "\t", "é", "漢", "😀", "<", "|>", "user", "assistant", "'s", "7", "<s>", "</s>",
    "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>", "<|end_header_id|>",
    "<start_of_turn>", "<end_of_turn>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>", "<|im_<|im_end|>end|>",
)  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), min_size=1, max_size=8).map("".join)
visible = texts.filter(str.strip)
many = settings(max_examples=150, deadline=None)


def conversations() -> st.SearchStrategy[tuple[Message, ...]]:
    """One to three user turns with answers between them, with a system turn before them or without."""

    def built(system: str | None, said: list[str]) -> tuple[Message, ...]:
        roles = ("user", "assistant") * len(said)
        turns = tuple(Message(role, text) for role, text in zip(roles, said, strict=False))
        turns = turns if len(turns) % 2 else turns[:-1]
        return turns if system is None else (Message("system", system), *turns)

    return st.builds(built, st.none() | visible, st.lists(visible, min_size=1, max_size=5))


def completion(text: str, ids: tuple[int, ...] = ()) -> Completion:
    return Completion("c", "p", "g", None, text, ids, ended=True, sampler=Sampler(), seed=0)


def trained_on(model: ResidentModel, messages: tuple[Message, ...], said: Completion) -> tuple[list[int], list[int]]:
    """The prompt's and the completion's ids as a forward of training takes them."""
    packed = pack([group_ids(model, PreferenceGroup("c", Prompt("p", messages), (said,), ((0, 0),)))])
    (prompt, _) = packed.lengths[0]
    return packed.input_ids[0, :prompt].tolist(), packed.targets[packed.mask].tolist()


@pytest.mark.parametrize("which", range(3), ids=["single", "system", "turns"])
def test_that_a_prompt_is_the_familys_layout_up_to_where_the_model_is_to_speak(family, which) -> None:
    wanted = GOLDEN[family.name][which]
    ids = Chat(family.tokenizer).prompt_ids((SINGLE, SYSTEM, TURNS)[which])
    assert ids == family.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    assert family.same(family.tokenizer.decode(ids), wanted)


def test_that_a_completion_has_the_ids_that_it_has_behind_its_prompt(family) -> None:
    whole = family.tokenizer(f"{GOLDEN[family.name][0]}the{family.turn_end}", add_special_tokens=False)["input_ids"]
    ids = Chat(family.tokenizer).completion_ids("the")
    assert ids == whole[-len(ids) :]


@many
@given(messages=conversations())
def test_that_a_prompt_begins_once_and_what_is_written_in_it_is_never_a_special_token(family, messages) -> None:
    special = set(family.tokenizer.convert_tokens_to_ids(list(family.specials)))
    harmless = tuple(Message(m.role, "x") for m in messages)
    chat = Chat(family.tokenizer)
    ids = chat.prompt_ids(messages)
    assert [i for i in ids if i in special] == [i for i in chat.prompt_ids(harmless) if i in special]
    assert ids.count(family.tokenizer.bos_token_id) == family.begins


@many
@given(messages=conversations(), text=texts)
def test_that_prompt_and_completion_are_the_conversation_as_the_template_writes_it(family, messages, text) -> None:
    """Letter by letter, special words in it included, and with the end that the template puts behind an answer."""
    chat = Chat(family.tokenizer)
    turns = list(messages)
    if family.name in ("Gemma", "Phi"):
        turns = folded(messages)
    if family.template is None:
        wanted = "<s>" + "".join(f"{turn.content}\n\n" for turn in turns)
    else:
        wanted = family.tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns], tokenize=False, add_generation_prompt=True
        )
    whole = family.tokenizer.decode([*chat.prompt_ids(messages), *chat.completion_ids(text)])
    assert family.same(whole, f"{wanted}{text}{family.turn_end}")


@many
@given(messages=conversations())
def test_that_the_model_reads_the_turns_that_the_labeller_reads(family, messages) -> None:
    """The same words in the same order; a template that trims leaves white space out around them."""
    read = family.tokenizer.decode(Chat(family.tokenizer).prompt_ids(messages))
    shown = prompt_text(Prompt("p", messages))
    for text in (read, shown):
        text, place = "".join(text.split()), 0  # sentence pieces put spaces behind special words
        for turn in messages:
            words = "".join(turn.content.split())
            place = text.index(words, place) + len(words)


@many
@given(text=texts)
def test_that_a_written_completion_is_shown_as_it_was_written(speaker, family, text) -> None:
    ids = speaker.completion_ids(text)
    shown = speaker.completion_text(ids)
    # A first space is not shown where the tokenizer puts one before every text.
    assert shown == text or (family.sentence_piece and shown == text.removeprefix(" "))
    assert not set(ids[:-1]) & speaker.end_ids


def test_that_a_turn_ends_as_the_template_ends_it_and_sampling_stops_there(speaker, family) -> None:
    turn_end = family.tokenizer.convert_tokens_to_ids(family.turn_end)
    assert speaker.completion_ids("yes")[-1] == speaker.chat.turn_end == turn_end
    assert speaker.end_ids == {turn_end, family.tokenizer.eos_token_id}
    prompt = speaker.prompt_ids(SINGLE)
    work = sample(speaker, None, [prompt], range(40), Sampler(temperature=3.0, max_new_tokens=60), StopToken())
    drawn = None
    while drawn is None:
        try:
            next(work)
        except StopIteration as finished:
            drawn = finished.value
    assert turn_end in {one.completion_ids[-1] for one in drawn if one.ended}
    for one in drawn:
        assert not set(one.completion_ids[:-1]) & speaker.end_ids
        said = completion(speaker.completion_text(one.completion_ids), one.completion_ids)
        assert trained_on(speaker, SINGLE, said) == (prompt, list(one.completion_ids))


@many
@given(data=st.data())
def test_that_the_ids_that_were_sampled_are_the_ids_that_are_trained_on(speaker, data) -> None:
    """Whatever they spell: written out and read again, some of them would come back as others."""
    sampled = tuple(data.draw(st.lists(st.integers(0, len(speaker.tokenizer) - 1), min_size=1, max_size=12)))
    said = completion(speaker.completion_text(sampled), sampled)
    assert trained_on(speaker, TURNS, said) == (speaker.prompt_ids(TURNS), list(sampled))


def test_that_a_system_text_that_the_template_refuses_or_drops_opens_the_first_user_turn(family) -> None:
    decoded = family.tokenizer.decode(Chat(family.tokenizer).prompt_ids(SYSTEM))
    assert ("be short\n\nhi there" in decoded) == (family.name in ("Gemma", "Phi", "none"))
    assert decoded.count("be short") == 1


def test_that_turns_that_a_template_refuses_are_told_of(family) -> None:
    twice = (Message("user", "one"), Message("user", "two"))
    if family.name != "Gemma":
        assert Chat(family.tokenizer).prompt_ids(twice)
        return
    with pytest.raises(BadInputError, match=r"does not take the prompt “two.*Roles must take turns") as told:
        Chat(family.tokenizer).prompt_ids(twice)
    assert told.value.next_step


def test_that_a_prompt_is_the_same_tomorrow(llama) -> None:
    llama.tokenizer.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "Today is {{ date_string }}.{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"
    )
    assert llama.tokenizer.decode(llama.prompt_ids(SINGLE)) == "Today is 26 Jul 2024.<s>hi there</s>"


def test_that_without_a_user_turn_the_system_text_becomes_one() -> None:
    assert folded([Message("system", "a"), Message("system", "b")]) == [Message("user", "a\n\nb")]
