"""Labels drawn by Bradley-Terry from the latent utility, and what the best possible labeller would get of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from desktop_rlhf.records.verdicts import Interval, wilson
from desktop_rlhf.runs.seeds import derive_seed

SCALE = 2.0
"""Log-odds of a preference for each unit of utility between the two; higher is a labeller who errs less."""


def probability(difference: float) -> float:
    """The chance that the first is preferred when its utility is ``difference`` above the second's.

    Source: Bradley and Terry (1952); a logistic in ``SCALE`` times the difference.
    """
    odds = math.exp(-abs(SCALE * difference))
    return 1 / (1 + odds) if difference >= 0 else odds / (1 + odds)


def first_wins(difference: float, seed: int, *pair: str | int) -> bool:
    """The label of one pair, drawn once and for all: the same seed and ``pair`` give the same label again."""
    return derive_seed(seed, "label", *pair) / 2**63 < probability(difference)


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A held-out pair: utility of the first less that of the second, and whether its drawn label prefers the first."""

    difference: float
    first_won: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a reward model orders held-out pairs.

    Attributes:
        labels:       share of the drawn labels that it agrees with, with its 95 % interval and the number of pairs.
        best:         the share that ordering by the utility itself gets in expectation: the best possible.
        order:        share of the pairs that it orders as the utility does, without any noise in the labels.
        expected:     the share of labels it would agree with, had each pair been labelled over and over.
    """

    labels: Interval
    best: float
    order: float
    expected: float

    @property
    def of_best(self) -> Interval:
        """The agreement with the labels as a share of the best possible."""
        found = self.labels
        return Interval(found.value / self.best, found.low / self.best, found.high / self.best, found.n)


def best_possible(differences: Sequence[float]) -> float:
    """Expected agreement with the labels of who knows the utility and always names the better one."""
    return fmean(probability(abs(difference)) for difference in differences)


def agreement(pairs: Sequence[LabelledPair], margins: Sequence[float]) -> Agreement:
    """Compare scores with labels.

    Args:
        margins: score of the first less that of the second, one per pair; 0 prefers neither and is half right.
    """
    judged = list(zip(pairs, margins, strict=True))
    return Agreement(
        labels=wilson(sum(_half(m) if pair.first_won else 1 - _half(m) for pair, m in judged), len(judged)),
        best=best_possible([pair.difference for pair in pairs]),
        order=fmean(1 - abs(_half(m) - _half(pair.difference)) for pair, m in judged),
        expected=fmean(
            _half(m) * probability(pair.difference) + (1 - _half(m)) * probability(-pair.difference)
            for pair, m in judged
        ),
    )


def _half(x: float) -> float:
    """1 above 0, 0 below it, a half at it."""
    return 0.5 if x == 0 else float(x > 0)
