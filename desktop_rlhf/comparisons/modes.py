"""Labelling modes: which ranks a judgement of each may hold."""

from __future__ import annotations

from desktop_rlhf.records.comparisons import STRENGTHS, Outcome
from desktop_rlhf.records.errors import BadInputError

PAIRWISE = "pairwise"
RANKING = "ranking"
FEWEST, MOST = 2, 6


def mode_for(count: int) -> str:
    """The mode in which ``count`` completions are judged.

    Raises:
        BadInputError: fewer than two or more than six.
    """
    if not FEWEST <= count <= MOST:
        raise BadInputError(f"{count} completions cannot stand side by side.", f"Show {FEWEST} to {MOST}.")
    return PAIRWISE if count == 2 else RANKING


def check_judgement(count: int, outcome: Outcome, ranks: tuple[int, ...], strength: int | None) -> None:
    """Raise BadInputError where a judgement over ``count`` completions contradicts itself."""
    mode_for(count)
    if strength is not None and strength not in STRENGTHS:
        raise BadInputError(f"A strength of {strength} is not known.", f"It goes from 1 to {max(STRENGTHS)}.")
    if outcome is not Outcome.RANKED:
        if ranks:
            raise BadInputError("Only a judgement with an order has ranks.")
        return
    if len(ranks) != count or min(ranks) != 1 or any(rank < 1 for rank in ranks):
        raise BadInputError(f"The ranks {ranks} do not order {count} completions.", "Give each a rank, from 1.")
    if len(set(ranks)) == 1:
        raise BadInputError("Completions that all share a rank are a tie.")


def winner_ranks(count: int, winner: int) -> tuple[int, ...]:
    """Ranks when the completion at index ``winner`` is best and the others are not told apart."""
    return tuple(1 if place == winner else 2 for place in range(count))
