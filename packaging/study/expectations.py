"""What was expected before the first run, and what the figures say of it: the surprises are the ones that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """One expectation with what came of it, in a sentence each."""

    expectation: str
    came: str
    held: bool


def judged(figures: Figures) -> list[Expected]:
    """Every expectation that the figures can speak to, in a fixed order."""
    return [found for judge in _JUDGES for found in judge(figures)]


def utility_at(points: Sequence[tuple[float, float]], kl: float) -> float | None:
    """Utility on a curve of (KL, utility) at ``kl`` by straight lines; None where the curve does not reach."""
    ordered = sorted(points)
    for (left, low), (right, high) in pairwise(ordered):
        if left <= kl <= right:
            return low if right == left else low + (high - low) * (kl - left) / (right - left)
    return None


def _more_labels_help(figures: Figures) -> Iterator[Expected]:
    falls = [f"{a['count']} to {b['count']}" for a, b in pairwise(_reward(figures)) if b["expected"] < a["expected"]]
    yield Expected(
        "Every doubling of the labels makes the reward model better.",
        f"It got worse from {', '.join(falls)} labels." if falls else "It did.",
        not falls,
    )


def _nearly_best(figures: Figures) -> Iterator[Expected]:
    last = _reward(figures)[-1]
    share = last["expected"] / last["best"]
    yield Expected(
        f"With {last['count']} labels it gets at least 95 % of the best possible agreement.",
        f"It is expected to get {share:.1%}.",
        share >= 0.95,
    )


def _beats_length(figures: Figures) -> Iterator[Expected]:
    rows = [row for row in _reward(figures) if row["count"] >= 100]
    if not rows:
        return
    slow = [str(row["count"]) for row in rows if row["expected"] <= row["shorter_wins"]]
    yield Expected(
        "From 100 labels on it agrees more often than “the shorter one wins”.",
        f"Not with {', '.join(slow)} labels." if slow else "It does.",
        not slow,
    )


def _everyone_gains(figures: Figures) -> Iterator[Expected]:
    lost = [
        f"{name} {row['strength']}"
        for name, rows in figures["frontier"]["policies"].items()
        for row in rows
        if row["gain"] <= 2 * row["utility_error"]
    ]
    yield Expected(
        "What every policy writes has a higher utility than what the base writes, by two standard errors or more.",
        f"Not shown for {', '.join(lost)}." if lost else "Every one does.",
        not lost,
    )


def _dpo_above_on_policy(figures: Figures) -> Iterator[Expected]:
    dpo = _curve(figures, "dpo")
    for name in ("ppo", "rloo"):
        compared = [(kl, value, utility_at(dpo, kl)) for kl, value in _curve(figures, name)[1:]]
        inside = [(kl, value, other) for kl, value, other in compared if other is not None]
        above = [kl for kl, value, other in inside if other >= value]
        yield Expected(
            f"At equal KL DPO reaches at least the utility of {name.upper()}, as in the DPO paper.",
            f"At {len(above)} of the {len(inside)} KLs of {name.upper()} that DPO's curve spans."
            if inside
            else "The two curves do not overlap, so nothing can be said.",
            bool(inside) and len(above) == len(inside),
        )


def _sft_gains_least(figures: Figures) -> Iterator[Expected]:
    best = {name: max(row["utility"] for row in rows) for name, rows in figures["frontier"]["policies"].items()}
    least = min(best, key=best.__getitem__)
    yield Expected(
        "SFT on the chosen gains least, for it is never told what was rejected.",
        f"The algorithm whose best gains least is {least.upper()}, at a utility of {best[least]:.2f}.",
        least == "sft",
    )


def _selection_is_above(figures: Figures) -> Iterator[Expected]:
    chosen = [(0.0, figures["frontier"]["base"])]
    chosen += [(row["kl"], row["utility"]) for row in figures["frontier"]["best_of_n"]["reward model"]]
    above = [
        f"{name} {row['strength']}"
        for name, rows in figures["frontier"]["policies"].items()
        for row in rows
        if (other := utility_at(chosen, row["kl"])) is not None and row["utility"] > other
    ]
    yield Expected(
        "No trained policy lies above best of n by the same reward model at equal KL.",
        f"Above it: {', '.join(above)}." if above else "None does, where the curves can be compared.",
        not above,
    )


def _human_pairs(figures: Figures) -> Iterator[Expected]:
    if (found := figures["human"]) is None:
        return
    ours = found["ours"]["last"]
    yield Expected(
        "On human pairs a model of this size agrees with 55 to 68 %.",
        f"{ours['held_out_accuracy']:.1%} of {ours['n']} held-out pairs.",
        0.55 <= ours["held_out_accuracy"] <= 0.68,
    )
    if found["trl"] is not None:
        apart = ours["high"] < found["trl"]["low"] or found["trl"]["high"] < ours["low"]
        yield Expected("TRL's and ours have overlapping intervals.", "They do not." if apart else "They do.", not apart)


def _reward(figures: Figures) -> Sequence[Figures]:
    """The curve of the reward models that the policies learn from."""
    rows: Sequence[Figures] = figures["reward"]["mean"]
    return rows


def _curve(figures: Figures, name: str) -> list[tuple[float, float]]:
    """(KL, utility) of an algorithm by its strengths, the base first."""
    return [
        (0.0, figures["frontier"]["base"]),
        *((row["kl"], row["utility"]) for row in figures["frontier"]["policies"][name]),
    ]


_JUDGES: tuple[Callable[[Figures], Iterator[Expected]], ...] = (
    _more_labels_help,
    _nearly_best,
    _beats_length,
    _everyone_gains,
    _dpo_above_on_policy,
    _sft_gains_least,
    _selection_is_above,
    _human_pairs,
)
