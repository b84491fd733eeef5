"""The store -> files: all of one kind, in a form that the import takes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from desktop_rlhf.comparisons.pairs import preference_group
from desktop_rlhf.comparisons.single import is_single, label_of
from desktop_rlhf.prompts.files import (
    CompletionRow,
    PreferenceRow,
    write_completions,
    write_preferences,
    write_prompts,
)
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.training_data import judgements


def _prompts(store: Store, path: Path) -> int:
    prompts = store.prompts.all()
    write_prompts(path, prompts)
    return len(prompts)


def _comparisons(store: Store, path: Path) -> int:
    comparisons, completions, prompts = judgements(store)
    groups = (preference_group(comparison, completions, prompts) for comparison in comparisons)
    rows = [
        PreferenceRow(group.prompt, group.completions[better].text, group.completions[worse].text)
        for group in groups
        if isinstance(group, PreferenceGroup)
        for better, worse in group.pairs
    ]
    write_preferences(path, rows)
    return len(rows)


def _demonstrations(store: Store, path: Path) -> int:
    rows = [row for row in _singles(store) if row.label is None]
    write_completions(path, rows)
    return len(rows)


def _judgements(store: Store, path: Path) -> int:
    rows = [row for row in _singles(store) if row.label is not None]
    write_completions(path, rows)
    return len(rows)


def _singles(store: Store) -> list[CompletionRow]:
    """What was said of completions by themselves, oldest first."""
    comparisons, completions, prompts = judgements(store)
    return [
        CompletionRow(prompts[one.prompt_id], completions[one.completion_ids[0]].text, label_of(one))
        for one in comparisons
        if is_single(one)
    ]


EXPORTS: dict[str, Callable[[Store, Path], int]] = {
    "prompts": _prompts,
    "comparisons": _comparisons,
    "demonstrations": _demonstrations,
    "judgements": _judgements,
}
"""How each kind is written; gives how many rows there were."""
