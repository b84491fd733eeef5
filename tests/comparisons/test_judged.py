from __future__ import annotations

import pytest

from desktop_rlhf.comparisons.modes import mode_for
from desktop_rlhf.comparisons.pairs import judged_completions, preference_group
from desktop_rlhf.comparisons.single import is_single, label_of, single_judgement
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.learned import Reason

PROMPTS = {"p": Prompt("p", (Message("user", "q"),))}


def judged(texts: tuple[str, ...], outcome: Outcome, ranks: tuple[int, ...] = (), flagged: bool = False):
    shown = {
        str(i): Completion(str(i), "p", "g", None, text, (), ended=True, sampler=Sampler(), seed=0)
        for i, text in enumerate(texts)
    }
    comparison = Comparison("c", "p", mode_for(len(texts)), tuple(shown), outcome, ranks, flagged=flagged)
    found = judged_completions(comparison, shown, PROMPTS)
    return found if isinstance(found, Reason) else [(one.completion.text, one.desirable) for one in found]


def test_that_the_best_is_desirable_and_everything_worse_is_not() -> None:
    assert judged(("a", "b", "c"), Outcome.RANKED, (3, 1, 2)) == [("a", False), ("b", True), ("c", False)]
    assert judged(("a", "b", "c"), Outcome.RANKED, (1, 1, 2)) == [("a", True), ("b", True), ("c", False)]


def test_that_both_bad_makes_all_undesirable() -> None:
    assert judged(("a", "b"), Outcome.BOTH_BAD) == [("a", False), ("b", False)]
    assert judged(("a", "b", "c"), Outcome.BOTH_BAD) == [("a", False), ("b", False), ("c", False)]


def test_that_a_tie_and_a_skip_say_nothing() -> None:
    assert judged(("a", "b"), Outcome.TIE) is Reason.TIE
    assert judged(("a", "b"), Outcome.SKIPPED) is Reason.SKIPPED


@pytest.mark.parametrize(
    ("outcome", "ranks"),
    [(Outcome.RANKED, (2, 1)), (Outcome.BOTH_BAD, ()), (Outcome.TIE, ()), (Outcome.SKIPPED, ())],
)
def test_that_a_flag_changes_nothing(outcome, ranks) -> None:
    assert judged(("a", "b"), outcome, ranks, flagged=True) == judged(("a", "b"), outcome, ranks)


@pytest.mark.parametrize(
    ("label", "desirable", "demonstration"), [(None, True, True), (True, True, False), (False, False, False)]
)
def test_that_a_single_completion_is_judged_as_it_was_and_gives_no_pair(label, desirable, demonstration) -> None:
    mode, outcome, ranks = single_judgement(label)
    comparison = Comparison("c", "p", mode, ("a",), outcome, ranks)
    shown = {"a": Completion("a", "p", "g", None, "text", (), ended=True, sampler=Sampler(), seed=0)}
    (one,) = judged_completions(comparison, shown, PROMPTS)
    assert (one.desirable, one.demonstration) == (desirable, demonstration)
    assert preference_group(comparison, shown, PROMPTS) is Reason.SINGLE
    assert (is_single(comparison), label_of(comparison)) == (True, label)


def test_that_a_text_on_both_sides_and_an_empty_one_are_left_out() -> None:
    assert judged(("same", "same", "c"), Outcome.RANKED, (1, 2, 3)) == [("c", False)]
    assert judged(("a", ""), Outcome.RANKED, (1, 2)) == [("a", True)]


def test_that_a_judgement_of_which_nothing_is_left_says_why() -> None:
    assert judged(("same", "same"), Outcome.RANKED, (1, 2)) is Reason.EQUAL_TEXTS
    assert judged(("", ""), Outcome.BOTH_BAD) is Reason.EMPTY
