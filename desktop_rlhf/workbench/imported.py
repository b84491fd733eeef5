"""What a file held -> the store: prompts, and what was said of their completions as judgements."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias
from uuid import uuid4

from desktop_rlhf.comparisons.modes import PAIRWISE
from desktop_rlhf.comparisons.single import single_judgement
from desktop_rlhf.prompts.keys import prompt_key
from desktop_rlhf.prompts.rows import CompletionRow, Meaning, PreferenceRow, UnusableRow
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.views import ImportReport, LeftOut

Watch: TypeAlias = Callable[[int], None]
"""Is told of every row, by its number, that it will be taken now; what it raises breaks off."""

LINES_NAMED = 5
"""How many of the rows that were left out for one reason are named by their lines."""


def unwatched(number: int) -> None:
    """Nobody looks on."""


def take_in(store: Store, rows: Iterable[Meaning], watch: Watch = unwatched) -> ImportReport:
    """Store what the rows of a file say as they are read, or nothing when that breaks off.

    What stands there already, from this file or before it, is passed over.
    """
    came: Counter[str] = Counter()
    lines: dict[str, list[int]] = defaultdict(list)
    with store.transaction():
        for number, row in enumerate(rows, start=1):
            watch(number)
            if isinstance(row, UnusableRow):
                lines[row.why].append(row.line)
            else:
                came.update(_take_row(store, row))
    return ImportReport(
        prompts=came["prompts"],
        duplicates=came["rows"] - came["prompts"],
        comparisons=came["comparisons"],
        demonstrations=came["demonstrations"],
        judgements=came["judgements"],
        left_out=_left_out(lines),
    )


def _left_out(lines: Mapping[str, Sequence[int]]) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(why, len(found), tuple(found[:LINES_NAMED])) for why, found in lines.items())


def _take_row(store: Store, row: Prompt | PreferenceRow | CompletionRow) -> Mapping[str, int]:
    """Store one row, and count what of it is new."""
    prompt = row if isinstance(row, Prompt) else row.prompt
    key = prompt_key(prompt)
    came = {"rows": 1, "prompts": store.prompts.add([(prompt, key)])}
    # The prompt with these words may have come before with another id, and for another use.
    prompt_id = prompt.id if came["prompts"] else store.prompts.id_of(key) or prompt.id
    if isinstance(row, PreferenceRow):
        return came | {"comparisons": _add_preference(store, row, prompt_id)}
    if isinstance(row, CompletionRow):
        kind = "demonstrations" if row.label is None else "judgements"
        return came | {kind: _add_completion(store, row, prompt_id)}
    return came


def _add_preference(store: Store, row: PreferenceRow, prompt_id: str) -> bool:
    if store.comparisons.holds_pair(prompt_id, row.chosen, row.rejected):
        return False
    _add(store, row.prompt, prompt_id, (row.chosen, row.rejected), PAIRWISE, Outcome.RANKED, (1, 2))
    return True


def _add_completion(store: Store, row: CompletionRow, prompt_id: str) -> bool:
    mode, outcome, ranks = single_judgement(row.label)
    if store.comparisons.holds_single(prompt_id, mode, outcome, row.completion):
        return False
    _add(store, row.prompt, prompt_id, (row.completion,), mode, outcome, ranks)
    return True


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
