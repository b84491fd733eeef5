"""What a project gives to be shown: completions to be judged, and counts."""

from __future__ import annotations

from dataclasses import dataclass

from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.records.verdicts import Match


@dataclass(frozen=True, slots=True)
class Showing:
    """Completions of one prompt as they stand side by side; their order is shuffled and stored with the judgement."""

    group_id: str
    mode: str
    prompt: Prompt
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class MatchShowing:
    """One match of a blind side by side."""

    match: Match
    prompt: Prompt
    left: Completion
    right: Completion


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many judgements stand, and how many groups wait for one."""

    ranked: int
    ties: int
    both_bad: int
    skipped: int
    flagged: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file brought: new prompts, prompts that were there already, and new comparisons."""

    prompts: int
    duplicates: int
    comparisons: int
