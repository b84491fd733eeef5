"""What the scores of held-out comparisons say about a reward model: agreement, sureness, length. Plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.verdicts import Interval, wilson

BINS = 5
MOST_SAMPLES = 512
FEWEST_SAMPLES = 8
"""With fewer scores a mean and a spread are guesses."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One held-out comparison and the scores of its completions.

    Attributes:
        scores:   one per completion, on the scale that was trained, before gain and bias.
        lengths:  one per completion, tokens.
        pairs:    (chosen, rejected) as indices into them.
        strength: of the preference, 1 to 4, or None.
    """

    scores: tuple[float, ...]
    lengths: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    strength: int | None = None

    @property
    def margins(self) -> list[float]:
        """Score of the chosen less that of the rejected, one per pair."""
        return [self.scores[better] - self.scores[worse] for better, worse in self.pairs]

    @property
    def right(self) -> float:
        """Share of its pairs that the scores order as the person did; equal scores order nothing."""
        return fmean(margin > 0 for margin in self.margins)

    @property
    def longer(self) -> float:
        """Share of its pairs in which the longer one was chosen; equal lengths count half."""
        return fmean(_sign_share(self.lengths[better] - self.lengths[worse]) for better, worse in self.pairs)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of which a reward model is about equally sure.

    Attributes:
        confidence: mean probability that it gives the side it prefers, 0.5 to 1.
        agreement:  share of the pairs in which the person preferred that side too, with its interval and n.
    """

    confidence: float
    agreement: Interval


def report_on(held_out: Sequence[Scored]) -> dict[str, object]:
    """The figures of a run's report, as JSON takes them; a figure that nothing is known of is left out.

    Shares rest on the comparisons, as pairs of one ranking hang together; sureness rests on the pairs, each once.
    """
    accuracy = wilson(sum(one.right for one in held_out), len(held_out))
    margins = [margin for one in held_out for margin in one.margins]
    longer = fmean(one.longer for one in held_out) if held_out else 0.5
    bins = reliability(margins)
    unsure = {
        "ece": calibration_error(bins) if bins else None,
        "ece_by_chance": error_by_chance(margins) if bins else None,
        "temperature": temperature(margins),
        "length_correlation": length_correlation(held_out),
    }
    return {
        "held_out_accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "n": accuracy.n,
        "pairs": len(margins),
        "longer_wins": longer,
        "shorter_wins": 1 - longer,
        "scores_chosen": [one.scores[better] for one in held_out for better, _ in one.pairs],
        "scores_rejected": [one.scores[worse] for one in held_out for _, worse in one.pairs],
        "by_strength": by_strength(held_out),
        "reliability": [
            {"confidence": b.confidence, "agreement": b.agreement.value, "low": b.agreement.low,
             "high": b.agreement.high, "n": b.agreement.n}
            for b in bins
        ],
    } | {name: value for name, value in unsure.items() if value is not None}  # fmt: skip


def by_strength(held_out: Sequence[Scored]) -> list[dict[str, object]]:
    """Agreement for each strength of preference there was, weakest first, those without one last."""
    rows: list[dict[str, object]] = []
    for strength in sorted({one.strength for one in held_out}, key=lambda s: math.inf if s is None else s):
        shares = [one.right for one in held_out if one.strength == strength]
        found = wilson(sum(shares), len(shares))
        rows.append({"strength": strength, "accuracy": found.value, "low": found.low, "high": found.high, "n": found.n})
    return rows


def reliability(margins: Sequence[float]) -> list[Bin]:
    """How often the person agrees, by how sure the model is; bins of equal width over [0.5, 1], empty ones left out.

    Each pair counts once and is turned to the side the model prefers: at a margin m it is sigmoid(|m|) sure. To take
    the chosen side would show only agreement; to count a pair from both sides would double n and gain nothing. At
    m = 0 it prefers neither side and is half right.

    Source: reliability diagrams as in Guo et al. (2017), for the two classes of a pair.
    """
    places: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for margin in margins:
        sure = _sigmoid(abs(margin))
        places[min(int((sure - 0.5) * 2 * BINS), BINS - 1)].append((sure, _sign_share(margin)))
    return [
        Bin(fmean(sure for sure, _ in place), wilson(sum(agrees for _, agrees in place), len(place)))
        for place in places
        if place
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of agreement from confidence, each bin by its number of pairs.

    Source: Naeini et al. (2015); Guo et al. (2017), equation 3.
    """
    pairs = sum(b.agreement.n for b in bins)
    return sum(b.agreement.n / pairs * abs(b.agreement.value - b.confidence) for b in bins)


def error_by_chance(margins: Sequence[float]) -> float:
    """The calibration error that a model which is exactly as right as it is sure would show on so few pairs.

    The number of agreements in a bin is nearly normal with variance sum p (1 - p); a normal's mean distance from its
    mean is sqrt(2 / pi) times its spread. Pairs of one ranking hang together, so the truth lies somewhat higher.
    """
    variances = [0.0] * BINS
    for margin in margins:
        sure = _sigmoid(abs(margin))
        variances[min(int((sure - 0.5) * 2 * BINS), BINS - 1)] += sure * (1 - sure)
    return sum(math.sqrt(2 / math.pi * variance) for variance in variances) / len(margins)


def temperature(margins: Sequence[float]) -> float | None:
    """T that makes the mean of -log sigmoid(m / T) least; above 1, the model is surer than it should be.

    None where there is no best one: without a mistake ever smaller ones fit better, and with a mean margin of 0 or
    less ever larger ones.

    Source: Guo et al. (2017).
    """
    if not margins or min(margins) >= 0 or fmean(margins) <= 0:
        return None

    def slope(factor: float) -> float:
        """Of the loss by 1 / T; the loss is convex in it, so the slope only rises."""
        return -fmean(margin * _sigmoid(-factor * margin) for margin in margins)

    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


def length_correlation(held_out: Sequence[Scored]) -> float | None:
    """Pearson correlation of score and length within the comparisons, -1 to 1; None where either never differs.

    Both are taken from the comparison's mean: a score's level from prompt to prompt is free in Bradley-Terry.
    """
    scores = [score - fmean(one.scores) for one in held_out for score in one.scores]
    lengths = [length - fmean(one.lengths) for one in held_out for length in one.lengths]
    spread = math.sqrt(math.fsum(s * s for s in scores)) * math.sqrt(math.fsum(n * n for n in lengths))
    if spread == 0:
        return None
    return max(-1.0, min(1.0, math.fsum(s * n for s, n in zip(scores, lengths, strict=True)) / spread))


def reference_ids(groups: Sequence[PreferenceGroup]) -> frozenset[str]:
    """Ids of up to 512 completions that the base itself sampled, the first groups' first.

    Where it sampled hardly any, as with comparisons from a file, whatever was compared stands in for them.
    """
    everything = [completion for group in groups for completion in group.completions]
    sampled = {c.id: None for c in everything if c.adapter_id is None and c.completion_ids}
    enough = sampled if len(sampled) >= FEWEST_SAMPLES else {c.id: None for c in everything}
    return frozenset(list(enough)[:MOST_SAMPLES])


def gain_and_bias(scores: Sequence[float]) -> tuple[float, float]:
    """What puts scores at mean 0 and variance 1 as score * gain + bias; (1, 0) for few scores or without a spread.

    Source: Ziegler et al. (2019), under samples of the reference.
    """
    spread = pstdev(scores) if len(scores) >= FEWEST_SAMPLES else 0.0
    return (1 / spread, -fmean(scores) / spread) if spread > 0 else (1.0, 0.0)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _sign_share(difference: float) -> float:
    """1 above 0, 0 below it, a half at it."""
    return 0.5 if difference == 0 else float(difference > 0)
