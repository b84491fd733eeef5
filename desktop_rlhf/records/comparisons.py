"""Comparisons: what a labeller said of completions that stood side by side."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt

STRENGTHS = {1: "barely better", 2: "slightly better", 3: "better", 4: "significantly better"}
STRENGTH_MARGINS = {1: 0.0, 2: 1 / 3, 3: 2 / 3, 4: 1.0}


def strength_margin(strength: int | None, scale: float = 1.0) -> float:
    """The margin that training asks of a preference of this strength, 0 where it was not said.

    Source: the small margins of Touvron et al., "Llama 2" (2023); its large ones are those at a scale of 3.
    """
    return 0.0 if strength is None else scale * STRENGTH_MARGINS[strength]


class Outcome(StrEnum):
    """How a comparison ended. Only RANKED and TIE order the completions; BOTH_BAD is all of them, however many."""

    RANKED = "ranked"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judgement over the completions of one prompt; never changed, only retracted.

    Attributes:
        id:             UUID hex made by the labeller's side, so that a replayed save changes nothing.
        mode:           the labelling mode that made it: ``pairwise`` or ``ranking``; of one completion by itself
                        ``demonstration`` or ``single``.
        completion_ids: ids of the completions in the order they were shown, left to right.
        ranks:          one per completion shown, 1 is best, equal numbers tie; empty unless RANKED or TIE.
        strength:       1 (barely) to 4 (significantly) better, or None when it was not said.
        labeller:       who judged: a person's name or the judge command.
        duration_s:     seconds from showing to choosing.
    """

    id: str
    prompt_id: str
    mode: str
    completion_ids: tuple[str, ...]
    outcome: Outcome
    ranks: tuple[int, ...] = ()
    strength: int | None = None
    flagged: bool = False
    labeller: str = ""
    duration_s: float = 0.0
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class PreferenceGroup:
    """The pairs of one comparison with their texts: what training reads.

    Attributes:
        prompt:      the prompt they all answer.
        completions: the distinct completions, each once, so that K forwards serve K(K-1)/2 pairs.
        pairs:       (chosen, rejected) as indices into ``completions``.
        strength:    of the judgement, or None.
    """

    comparison_id: str
    prompt: Prompt
    completions: tuple[Completion, ...]
    pairs: tuple[tuple[int, int], ...]
    strength: int | None = None


@dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """One completion and whether it is to become likelier or not, for training that needs no pairs.

    Attributes:
        demonstration: it was given as what to write, not judged beside others or by itself.
    """

    comparison_id: str
    prompt: Prompt
    completion: Completion
    desirable: bool
    demonstration: bool = False
