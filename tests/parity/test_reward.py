"""The reward model against TRL's RewardTrainer, which reads the last token, as `pooling` of `last` does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desktop_rlhf.records.comparisons import strength_margin
from desktop_rlhf.reward.spec import RewardSpec

CURVES = ("loss", "accuracy", "margin", "mean_reward")
LAST = {"pooling": "last", "held_out_share": 0.0}


def theirs(bench, rows, settings):
    from trl import RewardConfig, RewardTrainer

    trainer = bench.theirs.trainer(RewardTrainer, RewardConfig, rows, settings, head="ForSequenceClassification")
    return bench.theirs.measured(trainer)


@pytest.mark.parametrize("centring", [0.0, 0.3])
@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_that_loss_rewards_and_gradients_are_trls(bench, centring: float, scale: float) -> None:
    weight = {"center_rewards_coefficient": centring}
    margins = {"margin_from_strength": bool(scale), "margin_scale": scale}
    ours = bench.ours(RewardSpec, LAST | weight | margins, groups=bench.groups(bench.texts))
    rows = [
        row | ({"margin": strength_margin(one.strength, scale)} if scale else {})
        for one in bench.texts
        for row in one.rows()
    ]
    bench.alike(ours, theirs(bench, rows, weight), CURVES)


def test_that_a_ranking_is_trls_batch_of_its_pairs(bench) -> None:
    rankings = [bench.Texts(one.prompt, (*one.completions, "neither"), None) for one in bench.texts]
    ours = bench.ours(RewardSpec, LAST | {"center_rewards_coefficient": 0.3}, groups=bench.groups(rankings))
    bench.alike(ours, theirs(bench, bench.rows(rankings), {"center_rewards_coefficient": 0.3}), CURVES[:-1])


def test_that_a_pair_too_long_is_left_out_as_by_trl(bench) -> None:
    texts = [*bench.texts, bench.Texts("go on", ("no", "and on " * 5))]
    limit = {"center_rewards_coefficient": 0.01, "max_length": 32}
    ours = bench.ours(RewardSpec, LAST | limit, groups=bench.groups(texts))
    assert any("1 longer than max_length" in note for note in ours.notes)
    bench.alike(ours, theirs(bench, bench.rows(texts), limit), CURVES)


def test_that_trl_scores_the_token_before_the_end_where_padding_is_the_end_token(bench) -> None:
    """It finds the last token by what it is not. The program finds it by position and scores the end itself."""
    bench.theirs.tokenizer.pad_token = "</s>"
    texts = [replace(one, completions=tuple(text or "none" for text in one.completions)) for one in bench.texts]
    wrong = theirs(bench, bench.rows(texts), {})
    groups = bench.groups(texts)
    endless = [
        replace(group, completions=tuple(replace(c, completion_ids=ids[:-1]) for c, ids in bench.ids(group)))
        for group in groups
    ]
    centring = {"center_rewards_coefficient": 0.0}
    bench.alike(bench.ours(RewardSpec, LAST | centring, groups=endless), wrong, CURVES)
    right = bench.ours(RewardSpec, LAST | centring, groups=groups)
    assert abs(right.metrics["margin"] - wrong.metrics["margin"]) > 1e-3
