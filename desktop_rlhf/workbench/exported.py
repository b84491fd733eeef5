"""The store -> files: all of one kind, in a form that the import takes back (of verdicts it takes the prompts), and an
adapter's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from desktop_rlhf.comparisons.pairs import preference_group
from desktop_rlhf.comparisons.single import is_single, label_of
from desktop_rlhf.prompts.files import write_completions, write_preferences, write_prompts, write_verdicts
from desktop_rlhf.prompts.rows import CompletionRow, PreferenceRow, VerdictRow
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import BadInputError, DiskFullError, ModelFolderError, NotEnoughDataError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.records.verdicts import SideBySide
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.training_data import judgements

FROM_FILES = "They come from imported files; what was chosen side by side is exported as comparisons."
NOTHING = {
    "prompts": ("There are no prompts to export.", "Import some first."),
    "comparisons": ("There are no comparisons with a winner to export.", "Label some, or import some, first."),
    "demonstrations": (
        "There are no demonstrations to export, which are completions given as what to write.",
        FROM_FILES,
    ),
    "judgements": (
        "There are no judgements to export, which are single completions called good or bad.",
        FROM_FILES,
    ),
    "verdicts": ("There are no verdicts to export, which say who won where two were compared.", "Compare some first."),
}
"""Why there is no file, and a next step, where a project holds nothing of a kind."""

BASE = "base"
"""What the base model is called beside the adapters."""

T = TypeVar("T")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into an error for the person."""
    try:
        yield
    except OSError as error:
        raise DiskFullError(f"“{path}” could not be written: {error.strerror}.", "Choose another place.") from error


def copy_adapter(source: Path, target: Path) -> None:
    """Copy the files of an adapter to a new folder; all of them or none.

    Raises:
        BadInputError: something is at ``target`` already; it stays as it is.
        ModelFolderError: there are no files.
        OSError: it could not be written.
    """
    if not source.is_dir():
        raise ModelFolderError(f"The files of this adapter are gone: there is no folder “{source}”.", "Train it again.")
    if target.exists():
        raise BadInputError(f"“{target}” is there already.", "Choose a name that is free.")
    with TemporaryDirectory(dir=target.parent) as aside:
        whole = Path(aside) / target.name
        whole.mkdir()
        for file in source.iterdir():
            shutil.copyfile(file, whole / file.name)
        whole.rename(target)


def _prompts(store: Store, path: Path) -> int:
    prompts = _some("prompts", store.prompts.all())
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
    write_preferences(path, _some("comparisons", rows))
    return len(rows)


def _demonstrations(store: Store, path: Path) -> int:
    rows = _some("demonstrations", [row for row in _singles(store) if row.label is None])
    write_completions(path, rows)
    return len(rows)


def _judgements(store: Store, path: Path) -> int:
    rows = _some("judgements", [row for row in _singles(store) if row.label is not None])
    write_completions(path, rows)
    return len(rows)


def _verdicts(store: Store, path: Path) -> int:
    names = {None: BASE} | {adapter.id: adapter.name for adapter in store.adapters.all()}
    prompts = {prompt.id: prompt for prompt in store.prompts.all()}
    pairs = reversed(store.side_by_sides.all())
    rows = _some("verdicts", [row for pair in pairs for row in _verdicts_on(store, pair, names, prompts)])
    write_verdicts(path, rows)
    return len(rows)


def _verdicts_on(
    store: Store, pair: SideBySide, names: Mapping[str | None, str], prompts: Mapping[str, Prompt]
) -> list[VerdictRow]:
    """What was said of the matches of one side by side, oldest first."""
    matches = {match.id: match for match in store.side_by_sides.matches(pair.id)}
    ids = [id for match in matches.values() for id in (match.candidate_completion_id, match.baseline_completion_id)]
    completions = store.completions.get_all(ids)
    return [
        VerdictRow(
            prompt=prompts[match.prompt_id],
            candidate=completions[match.candidate_completion_id].text,
            baseline=completions[match.baseline_completion_id].text,
            candidate_adapter=names[pair.candidate_id],
            baseline_adapter=names[pair.baseline_id],
            match=match,
            verdict=verdict,
        )
        for verdict in store.side_by_sides.verdicts(pair.id)
        for match in [matches[verdict.match_id]]
    ]


def _some(what: str, rows: list[T]) -> list[T]:
    """The rows, of which there has to be one: an empty file would look like a success."""
    if not rows:
        raise NotEnoughDataError(*NOTHING[what])
    return rows


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
    "verdicts": _verdicts,
}
"""How each kind is written; gives how many rows there were."""
