"""What the store holds, as training reads it."""

from __future__ import annotations

from collections.abc import Sequence

from desktop_rlhf.comparisons.pairs import judged_completions, preference_groups
from desktop_rlhf.records.comparisons import Comparison, JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.store.store import Store


def training_groups(store: Store, comparison_ids: Sequence[str] | None = None) -> tuple[PreferenceGroup, ...]:
    """The preference groups of every judgement that stands, oldest first; held-out prompts are left out.

    With ``comparison_ids`` those of exactly these judgements, as a run that goes on learns from what it began with.
    """
    groups = preference_groups(*judgements(store, comparison_ids))
    return tuple(group for group in groups if group.prompt.split is Split.TRAIN)


def training_judgements(store: Store, comparison_ids: Sequence[str] | None = None) -> tuple[JudgedCompletion, ...]:
    """Every completion that a judgement calls good or bad, as ``training_groups`` takes them."""
    judged = judged_completions(*judgements(store, comparison_ids))
    return tuple(one for one in judged if one.prompt.split is Split.TRAIN)


def judgements(
    store: Store, comparison_ids: Sequence[str] | None = None
) -> tuple[list[Comparison], dict[str, Completion], dict[str, Prompt]]:
    """Comparisons, oldest first, and their completions and prompts by id."""
    comparisons = store.comparisons.all() if comparison_ids is None else store.comparisons.get_all(comparison_ids)
    completions = store.completions.get_all([id for c in comparisons for id in c.completion_ids])
    return comparisons, completions, {prompt.id: prompt for prompt in store.prompts.all()}
