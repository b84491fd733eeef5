from __future__ import annotations

import json
import math
import random
from statistics import fmean, pstdev

import pytest

from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.reward.calibration import (
    MOST_SAMPLES,
    Scored,
    by_strength,
    calibration_error,
    error_by_chance,
    gain_and_bias,
    length_correlation,
    reference_ids,
    reliability,
    report_on,
    temperature,
)


def odds(probability: float) -> float:
    """The margin at which a Bradley-Terry model is this sure."""
    return math.log(probability / (1 - probability))


def pair(margin: float, *, strength: int | None = None, lengths: tuple[int, int] = (3, 5)) -> Scored:
    return Scored((margin, 0.0), lengths, ((0, 1),), strength)


def group(number: int, *completions: tuple[str, str | None, tuple[int, ...]]) -> PreferenceGroup:
    """Completions given by (id, adapter id, sampled ids)."""
    prompt = Prompt(f"p{number}", (Message("user", "?"),))
    made = tuple(
        Completion(id, prompt.id, "g", adapter, id, ids, ended=True, sampler=Sampler(), seed=0)
        for id, adapter, ids in completions
    )
    return PreferenceGroup(f"c{number}", prompt, made, ((0, 1),))


def test_that_bins_and_calibration_error_equal_a_table_worked_by_hand() -> None:
    # Sure 0.58 (wrong), 0.55 and 0.65 (right), 0.95 three times (twice right): three of the five bins are met.
    margins = [-odds(0.58), odds(0.55), odds(0.65), odds(0.95), odds(0.95), -odds(0.95)]
    bins = reliability(margins)
    assert [b.agreement.n for b in bins] == [2, 1, 3]
    assert [b.confidence for b in bins] == pytest.approx([0.565, 0.65, 0.95])
    assert [b.agreement for b in bins] == [wilson(1, 2), wilson(1, 1), wilson(2, 3)]
    by_hand = (2 * abs(0.5 - 0.565) + 1 * abs(1 - 0.65) + 3 * abs(2 / 3 - 0.95)) / 6
    assert calibration_error(bins) == pytest.approx(by_hand)


def test_that_each_pair_counts_once_on_the_side_the_model_prefers() -> None:
    assert [b.agreement.n for b in reliability([odds(0.95), -odds(0.95)])] == [2]
    (undecided,) = reliability([0.0, 0.0, 0.0])
    assert (undecided.confidence, undecided.agreement.value, undecided.agreement.n) == (0.5, 0.5, 3)
    (certain,) = reliability([1e4, -1e4])
    assert (certain.confidence, certain.agreement.value) == (1.0, 0.5)


def test_that_a_model_as_right_as_it_is_sure_shows_the_error_that_chance_makes() -> None:
    rng = random.Random(0)
    sure = [0.5 + rng.random() / 2 for _ in range(60)]
    errors = []
    for _ in range(400):
        margins = [odds(p) if rng.random() < p else -odds(p) for p in sure]
        errors.append(calibration_error(reliability(margins)))
    assert fmean(errors) == pytest.approx(error_by_chance([odds(p) for p in sure]), rel=0.1)


def test_that_the_temperature_of_two_margins_is_the_closed_form() -> None:
    # Three of four right at one margin: the best probability is 3/4, so m / T = ln 3.
    assert temperature([2.0, 2.0, 2.0, -2.0]) == pytest.approx(2 / math.log(3))
    assert temperature([0.1, 0.1, 0.1, -0.1]) == pytest.approx(0.1 / math.log(3))


def test_that_the_temperature_is_where_the_loss_is_least() -> None:
    rng = random.Random(1)
    margins = [rng.gauss(0.8, 2) for _ in range(200)]

    def loss(at: float) -> float:
        return fmean(math.log1p(math.exp(-m / at)) for m in margins)

    best = temperature(margins)
    assert best is not None
    assert all(loss(best) < loss(best * factor) for factor in (0.5, 0.99, 1.01, 2))


@pytest.mark.parametrize("margins", [[], [1.0, 2.0], [0.0, 0.0], [1.0, -1.0], [1.0, -3.0]])
def test_that_no_temperature_is_made_up_where_none_is_best(margins: list[float]) -> None:
    assert temperature(margins) is None


def test_that_agreement_by_strength_rests_on_the_comparisons() -> None:
    ranking = Scored((3.0, 2.0, 9.0), (1, 2, 3), ((0, 1), (0, 2), (1, 2)))  # one of three pairs right
    rows = by_strength([pair(1, strength=4), ranking, pair(-1, strength=1), pair(1, strength=4), pair(0, strength=4)])
    assert [(row["strength"], row["n"]) for row in rows] == [(1, 1), (4, 3), (None, 1)]
    assert [row["accuracy"] for row in rows] == pytest.approx([0, 2 / 3, 1 / 3])
    assert (rows[1]["low"], rows[1]["high"]) == (wilson(2, 3).low, wilson(2, 3).high)


def test_that_the_length_correlation_is_taken_within_comparisons() -> None:
    # Deviations from the means: scores -1 1 | -2 2, lengths -1 1 | 3 -3: (2 - 12) / sqrt(10 * 20).
    held_out = [Scored((1.0, 3.0), (4, 6), ((1, 0),)), Scored((100.0, 104.0), (9, 3), ((1, 0),))]
    assert length_correlation(held_out) == pytest.approx(-10 / math.sqrt(200))
    raised = [held_out[0], Scored((0.0, 4.0), (9, 3), ((1, 0),))]
    assert length_correlation(raised) == pytest.approx(length_correlation(held_out))
    assert length_correlation([pair(1, lengths=(4, 4))]) is None
    assert length_correlation([]) is None


def test_that_the_baselines_weigh_each_comparison_once_as_the_accuracy_does() -> None:
    ranking = Scored((3.0, 2.0, 1.0), (1, 2, 3), ((0, 1), (0, 2), (1, 2)))  # the shorter one is always better
    report = report_on([ranking, pair(1, lengths=(9, 2)), pair(1, lengths=(4, 4)), pair(-1, lengths=(9, 2))])
    assert report["longer_wins"] == pytest.approx((0 + 1 + 0.5 + 1) / 4)
    assert report["shorter_wins"] == pytest.approx(1 - (0 + 1 + 0.5 + 1) / 4)
    assert report["held_out_accuracy"] == 3 / 4
    assert (report["n"], report["pairs"]) == (4, 6)


def test_that_a_report_is_json_and_leaves_out_what_nobody_knows() -> None:
    assert json.loads(json.dumps(report_on([pair(1), pair(-0.5)])))["ece"] > 0
    nothing = report_on([])
    assert nothing["n"] == 0
    assert not {"ece", "temperature", "length_correlation"} & set(nothing)


def test_that_gain_and_bias_put_scores_at_mean_0_and_variance_1_in_the_same_order() -> None:
    rng = random.Random(2)
    scores = [rng.gauss(7, 3) for _ in range(MOST_SAMPLES)]
    gain, bias = gain_and_bias(scores)
    scaled = [score * gain + bias for score in scores]
    assert fmean(scaled) == pytest.approx(0, abs=1e-9)
    assert pstdev(scaled) == pytest.approx(1)
    assert gain > 0
    assert gain_and_bias(scores[:7]) == (1.0, 0.0)
    assert gain_and_bias([2.0] * 20) == (1.0, 0.0)


def test_that_the_scale_rests_on_what_the_base_sampled_each_once() -> None:
    groups = [group(i, (f"base {i}", None, (1,)), (f"tuned {i}", "dpo", (1,)), ("typed", None, ())) for i in range(9)]
    again = [*groups, group(10, ("base 0", None, (1,)), ("tuned 0", "dpo", (1,)))]
    assert reference_ids(again) == {f"base {i}" for i in range(9)}
    many = [group(i, *((f"{i} {k}", None, (1,)) for k in range(2))) for i in range(300)]
    assert reference_ids(many) == {f"{i} {k}" for i in range(256) for k in range(2)}


def test_that_comparisons_from_a_file_stand_in_where_the_base_sampled_hardly_any() -> None:
    groups = [group(i, (f"a {i}", None, ()), (f"b {i}", None, ())) for i in range(5)]
    assert reference_ids(groups) == {f"{side} {i}" for side in "ab" for i in range(5)}
