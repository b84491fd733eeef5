from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desktop_rlhf.runs.events import Noted
from desktop_rlhf.runs.learned import WORDS, Learned, Reason, sifted

reasons = st.sampled_from(Reason)
counts = st.dictionaries(reasons, st.integers(1, 9))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | reasons)), counts)
def test_that_what_is_kept_and_what_is_left_out_is_all_there_is(examples, before) -> None:
    kept, learned = sifted(examples, lambda one: one[0], lambda one: one[1], before)
    assert kept == tuple(one for one in examples if one[1] is None)
    assert learned.kept == len({name for name, _ in kept})
    assert learned.total == len({name for name, _ in examples}) + sum(before.values())
    assert all(learned.left_out[reason] >= count for reason, count in before.items())


def test_that_one_example_of_several_keeps_a_comparison_and_the_first_reason_counts() -> None:
    examples = [("a", Reason.TOO_LONG), ("a", None), ("b", Reason.TOO_LONG), ("b", Reason.EMPTY)]
    _, learned = sifted(examples, lambda one: one[0], lambda one: one[1], {Reason.TIE: 1})
    assert learned == Learned(1, {Reason.TIE: 1, Reason.TOO_LONG: 1})


@pytest.mark.parametrize(
    ("learned", "sentence"),
    [
        (Learned(130), "Learns from 130 comparisons."),
        (Learned(1), "Learns from 1 comparison."),
        (
            Learned(118, {Reason.TIE: 7, Reason.EQUAL_TEXTS: 2, Reason.TOO_LONG: 3}),
            "Learns from 118 of 130 comparisons. Left out: 7 ties, 2 of equal texts, 3 longer than max_length.",
        ),
        (Learned(1, {Reason.TIE: 1}), "Learns from 1 of 2 comparisons. Left out: 1 tie."),
        (Learned(4, {Reason.REFUSE: 2}, what="prompt"), "Learns from 4 of 6 prompts. Left out: 2 tagged refuse."),
        (
            Learned(1200, cut=1001),
            "Learns from 1,200 comparisons. 1,001 completions were cut at the limit of tokens and end without an end "
            "token.",
        ),
    ],
)
def test_that_the_count_is_one_sentence(learned: Learned, sentence: str) -> None:
    assert learned.sentence == sentence
    assert learned.notes == ((Noted(sentence),) if "Left out" in sentence or "cut" in sentence else ())


@given(st.builds(Learned, st.integers(0, 99), counts, st.integers(0, 9), st.sampled_from(["comparison", "prompt"])))
def test_that_a_report_keeps_the_count_through_a_file(learned: Learned) -> None:
    assert Learned.read(json.loads(json.dumps(learned.report()))) == learned
    assert Learned.read({"steps": 3}) is None


def test_that_what_is_held_out_moves_from_one_side_to_the_other_and_none_is_not_told() -> None:
    learned = Learned(10, {Reason.TOO_LONG: 2})
    assert learned.without(Reason.HELD_OUT, 3) == Learned(7, {Reason.TOO_LONG: 2, Reason.HELD_OUT: 3})
    assert learned.without(Reason.HELD_OUT, 0) == learned


def test_that_every_reason_has_its_words() -> None:
    assert list(WORDS) == list(Reason)
