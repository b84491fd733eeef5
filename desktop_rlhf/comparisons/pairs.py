"""Comparisons -> pairs and preference groups, and the split that measures without leaking."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

from desktop_rlhf.comparisons.single import DEMONSTRATION
from desktop_rlhf.records.comparisons import Comparison, JudgedCompletion, Outcome, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.runs.learned import Reason
from desktop_rlhf.runs.seeds import derive_seed


def ordered(comparison: Comparison) -> tuple[tuple[int, int], ...]:
    """(better, worse) as places in the comparison, for every two completions it tells apart; a tie gives none.

    A ranking of K without ties gives K(K-1)/2 of them.
    """
    if comparison.outcome is not Outcome.RANKED:
        return ()
    ranks = comparison.ranks
    return tuple(
        (a, b) if ranks[a] < ranks[b] else (b, a) for a, b in combinations(range(len(ranks)), 2) if ranks[a] != ranks[b]
    )


def preference_group(
    comparison: Comparison, completions: Mapping[str, Completion], prompts: Mapping[str, Prompt]
) -> PreferenceGroup | Reason:
    """A comparison that orders something with its texts, or why it teaches nothing.

    Pairs of two completions with the same text teach nothing and are left out, and so are completions that then stand
    in no pair and completions without a token.
    """
    shown = [completions[id] for id in comparison.completion_ids]
    if len(shown) < 2:
        return Reason.SINGLE
    if comparison.outcome is not Outcome.RANKED:
        return _UNRANKED[comparison.outcome]
    whole = [(a, b) for a, b in ordered(comparison) if _usable(shown[a], shown[b])]
    pairs = [(a, b) for a, b in whole if shown[a].text != shown[b].text]
    if not pairs:
        return Reason.EQUAL_TEXTS if whole else Reason.EMPTY
    kept = sorted({place for pair in pairs for place in pair})
    index = {place: i for i, place in enumerate(kept)}
    return PreferenceGroup(
        comparison_id=comparison.id,
        prompt=prompts[comparison.prompt_id],
        completions=tuple(shown[place] for place in kept),
        pairs=tuple((index[a], index[b]) for a, b in pairs),
        strength=comparison.strength,
    )


def judged_completions(
    comparison: Comparison, completions: Mapping[str, Completion], prompts: Mapping[str, Prompt]
) -> tuple[JudgedCompletion, ...] | Reason:
    """Every completion that was called good or bad, or why there is none; nothing is drawn by lot or made up.

    - Ranked: the best are desirable, all others are not, however near they came.
    - Both bad: all are undesirable. Which of them is the worse was not said, and is not needed.
    - Tied: neither. That two are equal says of neither that it is good.
    - Skipped: neither.
    - A demonstration and a single completion called good are desirable, one called bad is not.
    - Flagged: as it was judged. A flag is a note to look again, and everything else learns from flagged ones too.

    Completions without a token are left out, and so is a text that one comparison holds for both.
    """
    if comparison.outcome is Outcome.RANKED:
        desirable = [rank == 1 for rank in comparison.ranks]
    elif comparison.outcome is Outcome.BOTH_BAD:
        desirable = [False] * len(comparison.completion_ids)
    else:
        return _UNRANKED[comparison.outcome]
    shown = [completions[id] for id in comparison.completion_ids]
    verdicts: dict[str, set[bool]] = {}
    for completion, good in zip(shown, desirable, strict=True):
        verdicts.setdefault(completion.text, set()).add(good)
    prompt, demonstrated = prompts[comparison.prompt_id], comparison.mode == DEMONSTRATION
    judged = tuple(
        JudgedCompletion(comparison.id, prompt, completion, good, demonstrated)
        for completion, good in zip(shown, desirable, strict=True)
        if _usable(completion) and len(verdicts[completion.text]) == 1
    )
    return judged or (Reason.EQUAL_TEXTS if any(map(_usable, shown)) else Reason.EMPTY)


_UNRANKED = {Outcome.TIE: Reason.TIE, Outcome.BOTH_BAD: Reason.BOTH_BAD, Outcome.SKIPPED: Reason.SKIPPED}


def _usable(*completions: Completion) -> bool:
    return all(completion.completion_ids or completion.text for completion in completions)


def split_by_prompt(
    groups: Sequence[PreferenceGroup], share: float, seed: int
) -> tuple[tuple[PreferenceGroup, ...], tuple[PreferenceGroup, ...]]:
    """(to learn from, held out): a prompt's comparisons all fall on one side; about ``share`` of prompts is held out.

    The side hangs on the prompt's words and the seed alone, so that more labels never move a prompt across.
    """

    def held_out(group: PreferenceGroup) -> bool:
        words = hashlib.sha256("\x1f".join(m.content for m in group.prompt.messages).encode()).hexdigest()
        return derive_seed(seed, "held out", words) / 2**63 < share

    kept = tuple(group for group in groups if not held_out(group))
    apart = tuple(group for group in groups if held_out(group))
    return (kept, apart) if kept else (apart, ())
