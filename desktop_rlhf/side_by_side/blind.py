"""Which side each completion stands on, and what a choice of a side means."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from desktop_rlhf.records.verdicts import Match, Winner
from desktop_rlhf.runs.seeds import derive_seed

T = TypeVar("T")
LEFT, RIGHT, TIE = "left", "right", "tie"


def shuffled(items: Sequence[T], group_id: str) -> tuple[T, ...]:
    """``items`` in an order that hangs on the group alone: the same each time it is shown, even at odds over groups."""
    order = list(items)
    random.Random(derive_seed(0, "sides", group_id)).shuffle(order)
    return tuple(order)


def candidate_on_left(match_id: str) -> bool:
    """A fair coin per match."""
    return bool(derive_seed(0, "left", match_id) & 1)


def winner_of(match: Match, choice: str) -> Winner:
    """Whose completion a choice of ``left``, ``right`` or ``tie`` prefers; ValueError for any other word."""
    if choice == TIE:
        return Winner.TIE
    if choice not in (LEFT, RIGHT):
        raise ValueError(f"a verdict is left, right or tie, not {choice!r}")
    return Winner.CANDIDATE if (choice == LEFT) == match.candidate_on_left else Winner.BASELINE
