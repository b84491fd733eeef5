from __future__ import annotations

from desktop_rlhf.comparisons.modes import mode_for
from desktop_rlhf.comparisons.pairs import judged_completions
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


def test_that_both_bad_makes_all_undesirable_flagged_or_not() -> None:
    for flagged in (True, False):
        assert judged(("a", "b"), Outcome.BOTH_BAD, flagged=flagged) == [("a", False), ("b", False)]


def test_that_a_tie_and_a_skip_say_nothing() -> None:
    assert judged(("a", "b"), Outcome.TIE) is Reason.TIE
    assert judged(("a", "b"), Outcome.SKIPPED) is Reason.SKIPPED


def test_that_a_text_on_both_sides_and_an_empty_one_are_left_out() -> None:
    assert judged(("same", "same", "c"), Outcome.RANKED, (1, 2, 3)) == [("c", False)]
    assert judged(("a", ""), Outcome.RANKED, (1, 2)) == [("a", True)]


def test_that_a_judgement_of_which_nothing_is_left_says_why() -> None:
    assert judged(("same", "same"), Outcome.RANKED, (1, 2)) is Reason.EQUAL_TEXTS
    assert judged(("", ""), Outcome.BOTH_BAD) is Reason.EMPTY
