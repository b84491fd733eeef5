"""Verdicts of a blind side by side, and the win rate they add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

Z_95 = 1.959963984540054
EVEN_WITHIN = 0.1
"""A share is called even when its whole interval lies this near to a half."""

MOST_WORTH_JUDGING = 1_000


SAME_TEXT = "same text"
"""The labeller of a tie that nobody was asked about: both sides wrote the same."""


class Winner(StrEnum):
    """Whose completion was preferred."""

    CANDIDATE = "candidate"
    BASELINE = "baseline"
    TIE = "tie"


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two adapters to be compared on the same prompts with the same seeds. None is the base.

    Attributes:
        planned: how many matches were decided on: before the first was judged, and later on top of these.
    """

    id: str
    candidate_id: str | None
    baseline_id: str | None
    planned: int
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The two completions of one prompt. ``candidate_on_left`` is drawn once and stored."""

    id: str
    side_by_side_id: str
    prompt_id: str
    candidate_completion_id: str
    baseline_completion_id: str
    candidate_on_left: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one match; never changed, only retracted. ``id`` is a UUID hex.

    Attributes:
        labeller: who judged, or ``SAME_TEXT``.
    """

    id: str
    match_id: str
    winner: Winner
    labeller: str = ""
    duration_s: float = 0.0
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its 95 % interval and the number it rests on; ``n`` = 0 means nothing is known."""

    value: float
    low: float
    high: float
    n: int

    @property
    def tells(self) -> bool:
        """Whether a half lies outside."""
        return self.low > 0.5 or self.high < 0.5

    @property
    def even(self) -> bool:
        """Whether all of it lies near a half."""
        return self.low >= 0.5 - EVEN_WITHIN and self.high <= 0.5 + EVEN_WITHIN


def wilson(successes: float, n: int) -> Interval:
    """The Wilson score interval of a share, 95 %.

    Half successes are allowed, so that a tie counts as half a win.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if n == 0:
        return Interval(value=0.5, low=0.0, high=1.0, n=0)
    share = successes / n
    z2 = Z_95 * Z_95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def judgements_to_tell(share: float) -> int | None:
    """How many judgements at this win rate would leave a half outside the interval; None when that is too many."""
    return _first(share, lambda interval: interval.tells)


def judgements_to_call_even(share: float) -> int | None:
    """How many judgements at this win rate would leave all of the interval near a half; None when that is too many."""
    return _first(share, lambda interval: interval.even)


def _first(share: float, enough: Callable[[Interval], bool]) -> int | None:
    return next((n for n in range(1, MOST_WORTH_JUDGING + 1) if enough(wilson(share * n, n))), None)


@dataclass(frozen=True, slots=True)
class WinRate:
    """(wins + half the ties) / n of the candidate, with its Wilson interval, which ties make wider than it need be.

    Attributes:
        same: how many of the ties nobody was asked about, for both sides wrote the same.
    """

    wins: int
    losses: int
    ties: int
    same: int = 0

    @property
    def interval(self) -> Interval:
        return wilson(self.wins + self.ties / 2, self.wins + self.losses + self.ties)

    @property
    def decided(self) -> Interval:
        """The wins among the matches that one side won: by it alone one is called better. A tie speaks for neither."""
        return wilson(self.wins, self.wins + self.losses)

    @property
    def even(self) -> bool:
        """Whether neither is better as far as anybody can tell, and all of the interval lies near a half."""
        return self.interval.even and not self.decided.tells

    @property
    def asked(self) -> int:
        """How many a person or a judge gave."""
        return self.wins + self.losses + self.ties - self.same
