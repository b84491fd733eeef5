from __future__ import annotations

import hashlib
import json
from collections import Counter
from difflib import SequenceMatcher

from desktop_rlhf.prompts.files import read_file
from desktop_rlhf.prompts.keys import prompt_key
from desktop_rlhf.prompts.starter import starter_prompts
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.settings import resources_path

PROMPTS = starter_prompts()
HELD_OUT_SHA256 = "764f75392b7b69f726853c10d01bad42fd33ff5c65ee33f38409e833861ebbcc"
TAGS = {
    "explain", "rewrite", "summarise", "list", "advice", "plan", "email", "story", "code", "maths", "translate",
    "compare", "benign_lookalike", "refuse",
}  # fmt: skip


def part(split: Split) -> list[Prompt]:
    return [prompt for prompt in PROMPTS if prompt.split is split]


def test_that_both_splits_have_enough_prompts_of_each_kind() -> None:
    refused = Counter(prompt.split for prompt in PROMPTS if "refuse" in prompt.tags)
    others = Counter(prompt.split for prompt in PROMPTS if "refuse" not in prompt.tags)
    assert refused == {Split.TRAIN: 20, Split.HELD_OUT: 10}
    assert others[Split.TRAIN] >= 135
    assert others[Split.HELD_OUT] >= 90
    assert sum("benign_lookalike" in prompt.tags for prompt in PROMPTS) >= 15
    for split in Split:
        assert {tag for prompt in part(split) for tag in prompt.tags} == TAGS
        assert min(Counter(tag for prompt in part(split) for tag in prompt.tags).values()) >= 5


def test_that_every_prompt_is_one_short_tagged_user_turn_of_printable_ascii() -> None:
    for prompt in PROMPTS:
        assert [message.role for message in prompt.messages] == ["user"]
        assert 4 <= len(prompt.text.split()) <= 40, prompt.text
        assert prompt.text.isascii(), prompt.text
        assert prompt.text.isprintable(), prompt.text
        assert prompt.text == prompt.text.strip()
        assert prompt.tags
        assert prompt.source == "starter"


def test_that_no_prompt_and_no_id_stands_twice() -> None:
    assert len({prompt_key(prompt) for prompt in PROMPTS}) == len({prompt.id for prompt in PROMPTS}) == len(PROMPTS)


def test_that_no_held_out_prompt_is_nearly_a_training_prompt() -> None:
    for held_out in part(Split.HELD_OUT):
        matcher = SequenceMatcher(None, "", held_out.text.lower())
        for prompt in part(Split.TRAIN):
            matcher.set_seq1(prompt.text.lower())
            near = matcher.real_quick_ratio() > 0.75 and matcher.quick_ratio() > 0.75 and matcher.ratio() > 0.75
            assert not near, (held_out.text, prompt.text)


def test_that_ids_are_the_same_whenever_they_are_read() -> None:
    assert starter_prompts() == PROMPTS
    assert all(len(prompt.id) == 32 and int(prompt.id, 16) for prompt in PROMPTS)


def test_that_the_held_out_part_has_not_changed() -> None:
    """Win rates of different versions can be compared only while they are measured on the same prompts."""
    held_out = sorted(f"{prompt.id} {prompt_key(prompt)}" for prompt in part(Split.HELD_OUT))
    assert hashlib.sha256("\n".join(held_out).encode()).hexdigest() == HELD_OUT_SHA256


def test_that_the_first_prompts_are_varied_and_none_is_to_be_refused() -> None:
    first = part(Split.TRAIN)[:24]
    assert len({prompt.tags[0] for prompt in first}) >= 10
    assert not any("refuse" in prompt.tags for prompt in first)


def test_that_the_starter_file_can_be_imported_like_any_other() -> None:
    path = resources_path() / "prompts" / "starter.jsonl"
    taken = list(read_file(path))
    assert [(p.messages, p.tags, p.split) for p in taken] == [(p.messages, p.tags, p.split) for p in PROMPTS]
    slugs = [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(set(slugs)) == len(slugs) == len(PROMPTS)
