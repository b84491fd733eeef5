"""What the store holds, as training reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from desktop_rlhf.comparisons.pairs import judged_completions, preference_group
from desktop_rlhf.records.comparisons import Comparison, JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.runs.learned import Reason
from desktop_rlhf.store.store import Store

T = TypeVar("T")
LeftOut: TypeAlias = Mapping[Reason, int]


def training_groups(
    store: Store, comparison_ids: Sequence[str] | None = None
) -> tuple[tuple[PreferenceGroup, ...], LeftOut]:
    """The preference groups of every judgement that stands, oldest first, and how many judgements give none, and why.

    Those of held-out prompts are left out. With ``comparison_ids`` those of exactly these judgements, as a run that
    goes on learns from what it began with.
    """
    return _taken(store, preference_group, comparison_ids)


def training_judgements(
    store: Store, comparison_ids: Sequence[str] | None = None
) -> tuple[tuple[JudgedCompletion, ...], LeftOut]:
    """Every completion that a judgement calls good or bad, as ``training_groups`` takes them."""
    taken, left_out = _taken(store, judged_completions, comparison_ids)
    return tuple(one for judged in taken for one in judged), left_out


def labelled_pairs(store: Store) -> Iterator[tuple[Prompt, str, str]]:
    """(prompt, chosen text, rejected text) of every pair that the judgements imply."""
    comparisons, completions, prompts = _judgements(store)
    for comparison in comparisons:
        group = preference_group(comparison, completions, prompts)
        if isinstance(group, PreferenceGroup):
            for better, worse in group.pairs:
                yield group.prompt, group.completions[better].text, group.completions[worse].text


def _taken(
    store: Store,
    take: Callable[[Comparison, Mapping[str, Completion], Mapping[str, Prompt]], T | Reason],
    comparison_ids: Sequence[str] | None,
) -> tuple[tuple[T, ...], LeftOut]:
    comparisons, completions, prompts = _judgements(store, comparison_ids)
    taken: list[T] = []
    left_out: Counter[Reason] = Counter()
    for comparison in comparisons:
        held_out = prompts[comparison.prompt_id].split is not Split.TRAIN
        made = Reason.HELD_OUT_PROMPT if held_out else take(comparison, completions, prompts)
        if isinstance(made, Reason):
            left_out[made] += 1
        else:
            taken.append(made)
    return tuple(taken), left_out


def _judgements(
    store: Store, comparison_ids: Sequence[str] | None = None
) -> tuple[list[Comparison], dict[str, Completion], dict[str, Prompt]]:
    """Comparisons, their completions and prompts by id."""
    comparisons = store.comparisons.all() if comparison_ids is None else store.comparisons.get_all(comparison_ids)
    completions = store.completions.get_all([id for c in comparisons for id in c.completion_ids])
    return comparisons, completions, {prompt.id: prompt for prompt in store.prompts.all()}
