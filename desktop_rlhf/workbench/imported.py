"""What a file held -> the store: prompts, and what was said of their completions as judgements."""

from __future__ import annotations

from uuid import uuid4

from desktop_rlhf.comparisons.modes import PAIRWISE
from desktop_rlhf.comparisons.single import single_judgement
from desktop_rlhf.prompts.files import CompletionRow, ImportedFile, PreferenceRow
from desktop_rlhf.prompts.keys import prompt_key
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.views import ImportReport


def take_in(store: Store, file: ImportedFile) -> ImportReport:
    """Store all of a file or nothing; what stands there already, from this file or before it, is passed over."""
    asked = [*file.prompts, *(row.prompt for row in file.preferences), *(row.prompt for row in file.completions)]
    with store.transaction():
        new = store.prompts.add([(prompt, prompt_key(prompt)) for prompt in asked])
        pairs = sum(_add_preference(store, row) for row in file.preferences)
        added = [row for row in file.completions if _add_completion(store, row)]
    shown = sum(row.label is None for row in added)
    return ImportReport(new, len(asked) - new, pairs, shown, len(added) - shown)


def _add_preference(store: Store, row: PreferenceRow) -> bool:
    prompt_id = _stored_id(store, row.prompt)
    if store.comparisons.holds_pair(prompt_id, row.chosen, row.rejected):
        return False
    _add(store, row.prompt, prompt_id, (row.chosen, row.rejected), PAIRWISE, Outcome.RANKED, (1, 2))
    return True


def _add_completion(store: Store, row: CompletionRow) -> bool:
    prompt_id = _stored_id(store, row.prompt)
    mode, outcome, ranks = single_judgement(row.label)
    if store.comparisons.holds_single(prompt_id, mode, outcome, row.completion):
        return False
    _add(store, row.prompt, prompt_id, (row.completion,), mode, outcome, ranks)
    return True


def _stored_id(store: Store, prompt: Prompt) -> str:
    """Of the prompt with these words, which may have come before with another id, and for another use."""
    return store.prompts.id_of(prompt_key(prompt)) or prompt.id


def _add(
    store: Store,
    prompt: Prompt,
    prompt_id: str,
    texts: tuple[str, ...],
    mode: str,
    outcome: Outcome,
    ranks: tuple[int, ...],
) -> None:
    """Store completions, which have texts but no sampled ids, with the judgement of them."""
    group_id = uuid4().hex
    completions = [
        Completion(uuid4().hex, prompt_id, group_id, None, text, (), ended=True, sampler=Sampler(), seed=0)
        for text in texts
    ]
    store.completions.add_group(completions, to_label=False)
    ids = tuple(completion.id for completion in completions)
    labeller = prompt.source or "import"
    store.comparisons.add(Comparison(uuid4().hex, prompt_id, mode, ids, outcome, ranks, labeller=labeller))
