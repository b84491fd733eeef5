"""What the store holds, as training reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from desktop_rlhf.comparisons.pairs import judged_completions, preference_group
from desktop_rlhf.comparisons.single import is_single
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
    store: Store, takes: Callable[[JudgedCompletion], bool], comparison_ids: Sequence[str] | None = None
) -> tuple[tuple[JudgedCompletion, ...], LeftOut]:
    """Every completion that a judgement calls good or bad and that is wanted, as ``training_groups`` takes them."""

    def wanted(
        comparison: Comparison, completions: Mapping[str, Completion], prompts: Mapping[str, Prompt]
    ) -> tuple[JudgedCompletion, ...] | Reason:
        judged = judged_completions(comparison, completions, prompts)
        if isinstance(judged, Reason):
            return judged
        if kept := tuple(filter(takes, judged)):
            return kept
        if any(one.desirable for one in judged):
            return Reason.NOT_ASKED
        return Reason.CALLED_BAD if is_single(comparison) else Reason.BOTH_BAD

    taken, left_out = _taken(store, wanted, comparison_ids)
    return tuple(one for judged in taken for one in judged), left_out


def _taken(
    store: Store,
    take: Callable[[Comparison, Mapping[str, Completion], Mapping[str, Prompt]], T | Reason],
    comparison_ids: Sequence[str] | None,
) -> tuple[tuple[T, ...], LeftOut]:
    comparisons, completions, prompts = judgements(store, comparison_ids)
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


def judgements(
    store: Store, comparison_ids: Sequence[str] | None = None
) -> tuple[list[Comparison], dict[str, Completion], dict[str, Prompt]]:
    """Comparisons, oldest first, and their completions and prompts by id."""
    comparisons = store.comparisons.all() if comparison_ids is None else store.comparisons.get_all(comparison_ids)
    completions = store.completions.get_all([id for c in comparisons for id in c.completion_ids])
    return comparisons, completions, {prompt.id: prompt for prompt in store.prompts.all()}
