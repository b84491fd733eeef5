"""What the store holds, as training reads it."""

from __future__ import annotations

from collections.abc import Iterator

from desktop_rlhf.comparisons.pairs import judged_completions, preference_groups
from desktop_rlhf.records.comparisons import Comparison, JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.store.store import Store


def training_groups(store: Store) -> tuple[PreferenceGroup, ...]:
    """The preference groups of every judgement that stands, oldest first; held-out prompts are left out."""
    return tuple(group for group in _all_groups(store) if group.prompt.split is Split.TRAIN)


def training_judgements(store: Store) -> tuple[JudgedCompletion, ...]:
    """Every completion that a judgement calls good or bad, oldest judgement first; held-out prompts are left out."""
    return tuple(judged for judged in judged_completions(*_judgements(store)) if judged.prompt.split is Split.TRAIN)


def labelled_pairs(store: Store) -> Iterator[tuple[Prompt, str, str]]:
    """(prompt, chosen text, rejected text) of every pair that the judgements imply."""
    for group in _all_groups(store):
        for better, worse in group.pairs:
            yield group.prompt, group.completions[better].text, group.completions[worse].text


def _all_groups(store: Store) -> tuple[PreferenceGroup, ...]:
    return preference_groups(*_judgements(store))


def _judgements(store: Store) -> tuple[list[Comparison], dict[str, Completion], dict[str, Prompt]]:
    """Every comparison that stands, its completions and prompts by id."""
    comparisons = store.comparisons.all()
    completions = store.completions.get_all([id for c in comparisons for id in c.completion_ids])
    return comparisons, completions, {prompt.id: prompt for prompt in store.prompts.all()}
