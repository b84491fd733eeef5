from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desktop_rlhf.comparisons.modes import check_judgement, mode_for, winner_ranks
from desktop_rlhf.comparisons.pairs import ordered, preference_group, split_by_prompt
from desktop_rlhf.records.comparisons import Comparison, Outcome, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.learned import Reason


def judged(ranks: tuple[int, ...], outcome: Outcome = Outcome.RANKED, prompt: str = "p", id: str = "c") -> Comparison:
    ids = tuple(f"{id}-{place}" for place in range(len(ranks) or 2))
    return Comparison(id, prompt, mode_for(len(ids)), ids, outcome, ranks)


def completion(id: str, text: str, prompt: str = "p") -> Completion:
    return Completion(id, prompt, "g", None, text, (1, 2), ended=True, sampler=Sampler(), seed=0)


@given(st.permutations(range(1, 7)))
def test_that_a_ranking_of_six_gives_every_pair_once_and_in_order(ranks: list[int]) -> None:
    pairs = ordered(judged(tuple(ranks)))
    assert len(pairs) == 15
    assert len(set(map(frozenset, pairs))) == 15
    assert all(ranks[better] < ranks[worse] for better, worse in pairs)


def test_that_equal_ranks_give_no_pair() -> None:
    assert set(ordered(judged((2, 1, 2)))) == {(1, 0), (1, 2)}


@pytest.mark.parametrize("outcome", [Outcome.TIE, Outcome.BOTH_BAD, Outcome.SKIPPED])
def test_that_only_a_ranking_gives_pairs(outcome: Outcome) -> None:
    """Also where ranks came with it, as they may from a file."""
    for ranks in ((), (1, 2)):
        assert ordered(judged(ranks, outcome)) == ()


def test_that_equal_texts_teach_nothing() -> None:
    texts = {"c-0": "same", "c-1": "same", "c-2": "other"}
    completions = {id: completion(id, text) for id, text in texts.items()}
    prompts = {"p": Prompt("p", (Message("user", "q"),))}
    group = preference_group(judged((1, 2, 3)), completions, prompts)
    assert [(group.completions[a].id, group.completions[b].id) for a, b in group.pairs] == [
        ("c-0", "c-2"),
        ("c-1", "c-2"),
    ]
    completions["c-2"] = completion("c-2", "same")
    assert preference_group(judged((1, 2, 3)), completions, prompts) is Reason.EQUAL_TEXTS


def test_that_a_comparison_without_a_pair_says_why() -> None:
    completions = {id: replace(completion(id, text), completion_ids=()) for id, text in (("c-0", "a"), ("c-1", ""))}
    prompts = {"p": Prompt("p", (Message("user", "q"),))}
    told = [
        preference_group(judged((1, 2)), completions, prompts),
        *(preference_group(judged((), outcome), completions, prompts) for outcome in Outcome if outcome != "ranked"),
        preference_group(replace(judged((1, 2)), completion_ids=("c-0",), ranks=(1,)), completions, prompts),
    ]
    assert told == [Reason.EMPTY, Reason.TIE, Reason.BOTH_BAD, Reason.SKIPPED, Reason.SINGLE]


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.2, 0.5]))
def test_that_no_prompt_stands_on_both_sides_and_more_labels_move_none(seed: int, share: float) -> None:
    prompts = {f"p{i}": Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(60)}
    comparisons = [judged((1, 2), prompt=f"p{i % 60}", id=f"c{i}") for i in range(120)]
    completions = {i: completion(i, i, c.prompt_id) for c in comparisons for i in c.completion_ids}
    groups = [preference_group(comparison, completions, prompts) for comparison in comparisons]
    learn, apart = split_by_prompt(groups, share, seed)
    assert len(learn) + len(apart) == 120
    assert not {g.prompt.id for g in learn} & {g.prompt.id for g in apart}
    fewer, fewer_apart = split_by_prompt(groups[:80], share, seed)
    assert {g.comparison_id for g in fewer_apart} <= {g.comparison_id for g in apart}


def test_that_a_judgement_that_contradicts_itself_is_refused() -> None:
    for count, outcome, ranks, strength in (
        (2, Outcome.RANKED, (1, 1), None),
        (2, Outcome.RANKED, (2, 3), None),
        (2, Outcome.RANKED, (1,), None),
        (2, Outcome.TIE, (1, 2), None),
        (2, Outcome.RANKED, (1, 2), 5),
        (7, Outcome.TIE, (), None),
        (1, Outcome.TIE, (), None),
    ):
        with pytest.raises(BadInputError):
            check_judgement(count, outcome, ranks, strength)
    check_judgement(4, Outcome.RANKED, winner_ranks(4, 2), 4)
    assert winner_ranks(4, 2) == (2, 2, 1, 2)


def test_that_a_completion_without_a_token_is_learned_from_by_nobody() -> None:
    prompts = {"p": Prompt("p", (Message("user", "q"),))}
    completions = {"c-0": completion("c-0", "said"), "c-1": replace(completion("c-1", ""), completion_ids=())}
    assert preference_group(judged((1, 2)), completions, prompts) is Reason.EMPTY
    assert preference_group(judged((2, 1)), completions, prompts) is Reason.EMPTY
    ended_at_once = {**completions, "c-1": completion("c-1", "")}  # its end token is something that was said
    assert isinstance(preference_group(judged((2, 1)), ended_at_once, prompts), PreferenceGroup)
