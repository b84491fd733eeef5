from __future__ import annotations

import pytest

from desktop_rlhf.completions.distinct import DistinctGroup, same_text
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.seeds import derive_seed

PROMPT = Prompt("p", (Message("user", "q"),))


def saying(text: str, seed: int = 0) -> Completion:
    return Completion(f"{text}-{seed}", "p", "g", None, text, (4,), True, Sampler(), seed)


@pytest.mark.parametrize(("other", "same"), [("yes", True), (" yes\n", True), ("Yes", False), ("y es", False)])
def test_that_texts_are_the_same_where_nobody_sees_a_difference(other, same) -> None:
    assert same_text(saying("yes"), saying(other)) is same


def test_that_what_repeats_is_missing_and_drawn_with_the_next_seeds_of_the_prompt() -> None:
    group = DistinctGroup("g", PROMPT, 3, seed=7)
    assert group.next_seeds() == [derive_seed(7, "p", draw) for draw in (0, 1, 2)]
    for text in ("yes", "no", "yes "):
        group.take(saying(text))
    assert (group.missing, group.gives_a_choice) == (1, True)
    assert group.next_seeds() == [derive_seed(7, "p", 3)]
    group.take(saying("no", 1))
    assert group.next_seeds() == [derive_seed(7, "p", 4)]
    group.take(saying("maybe"))
    assert (group.missing, group.next_seeds()) == (0, [])
    assert [completion.text for completion in group.completions] == ["yes", "no", "maybe"]


@pytest.mark.parametrize(("count", "repeats", "choice"), [(2, False, False), (2, True, True), (1, False, True)])
def test_that_one_text_is_no_choice_unless_it_is_all_that_was_wanted(count, repeats, choice) -> None:
    group = DistinctGroup("g", PROMPT, count, seed=7, repeats=repeats)
    for seed in range(count):
        group.take(saying("yes", seed))
    assert group.gives_a_choice is choice
    assert group.missing == (0 if choice else 1)
