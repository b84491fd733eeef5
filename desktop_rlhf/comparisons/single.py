"""One completion by itself: a demonstration, or a judgement of it as good or bad."""

from __future__ import annotations

from desktop_rlhf.records.comparisons import Comparison, Outcome

DEMONSTRATION = "demonstration"
SINGLE = "single"


def single_judgement(label: bool | None) -> tuple[str, Outcome, tuple[int, ...]]:
    """Mode, outcome and ranks: ``label`` is True for a good completion, False for a bad one, None for a demonstration.

    A good one is first among one, so it orders nothing and gives no pair; a bad one is all that was there and bad.
    """
    if label is None:
        return DEMONSTRATION, Outcome.RANKED, (1,)
    return (SINGLE, Outcome.RANKED, (1,)) if label else (SINGLE, Outcome.BOTH_BAD, ())


def is_single(comparison: Comparison) -> bool:
    """Whether it speaks of one completion by itself."""
    return comparison.mode in (DEMONSTRATION, SINGLE)


def label_of(comparison: Comparison) -> bool | None:
    """The ``label`` that ``single_judgement`` made it from."""
    return None if comparison.mode == DEMONSTRATION else comparison.outcome is Outcome.RANKED
